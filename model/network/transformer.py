"""A decoder-only transformer: RMSNorm before each part, attention and MLP of several kinds.

Shapes: B sequences, T tokens of each, D = d_model, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.attention import Attention, KeyValues, Positions
from model.network.device import maybe_compiled
from model.network.shapes import Float, Int

INITIAL_STD = 0.02
COMPILED_ENDS = True
"""Whether a GPU's compiled steps have embedding and last norm compiled: some 20 launches less, of 500 at 12 layers."""


class Transformer(nn.Module):
    """Logits of the next token at every position.

    Matrices are drawn with a standard deviation of 0.02, so that an untrained network's loss is close to ln V;
    projections back into the residual stream are scaled by 1/√(2 · n_layer) (GPT-2). Draws come from `generator`,
    and from nowhere else.
    """

    narrow_stream: bool = False
    """Whether the residual stream is kept in the type of matrix products, its norms in float32 all the same.

    bfloat16 halves what blocks read and write beside their products, but rounds what each block adds: it learned worse
    on a CPU with every seed tried (docs/measurements.md). Off, for measurements only.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        with torch.random.fork_rng(devices=[]):  # torch's own initial draws, which ours replace
            self.embedding = nn.Embedding(vocab_size, config.d_model)
            self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
            self.mtp = nn.ModuleList(FurtherHead(config) for _ in range(config.mtp_heads))
            self.unembedding = None if config.tied else nn.Linear(config.d_model, vocab_size, bias=False)
        self.norm = nn.RMSNorm(config.d_model)
        self.positions = Positions(config)
        self._draw(generator)

    def _draw(self, generator: torch.Generator | None) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim >= 2:
                back = name.endswith(("attention.out.weight", "mlp.down.weight"))
                std = INITIAL_STD / math.sqrt(2 * self.config.n_layer) if back else INITIAL_STD
                nn.init.normal_(parameter, std=std, generator=generator)

    @property
    def output_weight(self) -> Float[Tensor, "V D"]:
        """The matrix that turns a state into logits."""
        return self.embedding.weight if self.unembedding is None else self.unembedding.weight

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Return the logits; T is at most the configuration's context."""
        states = self.states(tokens)[0]
        return softcap(F.linear(states, self.output_weight), self.config.logit_softcap)

    def initial_state(self, batch: int, length: int, dtype: torch.dtype) -> "ReadState":
        """Return the state before the first token, with room for `length`; `dtype` is that of matrix products."""
        device = self.embedding.weight.device
        return ReadState([cast(Block, block).initial_state(batch, length, device, dtype) for block in self.blocks])

    def step(self, tokens: Int[Tensor, "B T"], state: "ReadState") -> Float[Tensor, "B V"]:
        """Return the logits after the last of these tokens, which follow those in `state`; they are added to it.

        As `forward` gives them for all tokens so far, which must be no more than the configuration's context.
        """
        where = self.positions(tokens.shape[1], state.length)
        x = _embedded(self.embedding, tokens, self.narrow_stream)
        for block, block_state in zip(self.blocks, state.blocks, strict=True):
            x = cast(Block, block).step(x, block_state, *where)
        state.length += tokens.shape[1]
        return self.next_logits(_normalised(self.norm, x))

    def next_logits(self, states: Float[Tensor, "B T D"]) -> Float[Tensor, "B V"]:
        """Return the logits after the last position, of normalised states."""
        return softcap(F.linear(states[:, -1], self.output_weight), self.config.logit_softcap)

    def states(
        self, tokens: Int[Tensor, "B T"], heads: int = 0, *, compiled: bool = False
    ) -> list[Float[Tensor, "B T D"]]:
        """Return the normalised last states, and those of the first `heads` heads that predict further on.

        `compiled` runs blocks compiled: all of one kind are one graph, whatever their number, so that networks of other
        depths find it in the compiler's cache. On a GPU the two ends are compiled, too.
        """
        run = maybe_compiled(call, compiled)
        ends = compiled and COMPILED_ENDS and tokens.device.type == "cuda"
        where = self.positions(tokens.shape[1])
        x = maybe_compiled(_embedded, ends)(self.embedding, tokens, self.narrow_stream)
        for block in self.blocks:
            x = run(block, x, *where)
        return [maybe_compiled(_normalised, ends)(self.norm, x)] + [run(head, x, *where) for head in self.mtp[:heads]]


@dataclass
class ReadState:
    """What a network keeps of the tokens read so far: for each block what its attention keeps, and their number."""

    blocks: list[KeyValues]
    length: int = 0


# Functions of their own: torch's compiler counts the shapes of each, and compiles no more than eight.
def call(module: nn.Module, *inputs: Any) -> Tensor:
    """Return the module's output; compiled, it serves every block of a network at the price of one."""
    return cast(Tensor, module(*inputs))


def _embedded(embedding: nn.Embedding, tokens: Tensor, narrow: bool) -> Tensor:
    x = embedding(tokens)
    kind = tokens.device.type
    return cast(Tensor, x.to(torch.get_autocast_dtype(kind)) if narrow and torch.is_autocast_enabled(kind) else x)


def _normalised(norm: nn.RMSNorm, x: Tensor) -> Tensor:
    """Return the stream at a common size; in float32, whatever the stream is kept in."""
    return cast(Tensor, norm(x.float()))


def softcap(logits: Tensor, cap: float) -> Tensor:
    """Return c · tanh(logits / c), or the logits where the cap is 0 (Gemma 2, arXiv:2408.00118)."""
    return cap * torch.tanh(logits / cap) if cap else logits


class Block(nn.Module):
    """Attention, then MLP, each on a normalised copy of the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.d_model)
        self.attention = Attention(config)
        self.mlp_norm = nn.RMSNorm(config.d_model)
        self.mlp = MLP(config)

    def forward(
        self, x: Float[Tensor, "B T D"], cosine: Tensor | None, sine: Tensor | None, mask: Tensor | None
    ) -> Float[Tensor, "B T D"]:
        """Return the stream after this block."""
        # Each part comes back in the type of matrix products: a narrow stream stays one.
        x = x + self.attention(_normalised(self.attention_norm, x), cosine, sine, mask)
        return cast(Tensor, x + self.mlp(_normalised(self.mlp_norm, x)))

    def initial_state(self, batch: int, length: int, device: torch.device, dtype: torch.dtype) -> KeyValues:
        """Return the state before the first token, with room for `length`."""
        return self.attention.initial_state(batch, length, device, dtype)

    def step(
        self,
        x: Float[Tensor, "B T D"],
        state: KeyValues,
        cosine: Tensor | None,
        sine: Tensor | None,
        mask: Tensor | None,
    ) -> Float[Tensor, "B T D"]:
        """Return what `forward` does for the tokens that follow those in `state`, and add them to it."""
        x = x + self.attention.step(_normalised(self.attention_norm, x), state, cosine, sine, mask)
        return cast(Tensor, x + self.mlp(_normalised(self.mlp_norm, x)))


class FurtherHead(nn.Module):
    """A block of its own on the trunk's stream, for a token further on (Gloeckle et al. 2024, arXiv:2404.19737)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.block = Block(config)
        self.norm = nn.RMSNorm(config.d_model)

    def forward(
        self, x: Float[Tensor, "B T D"], cosine: Tensor | None, sine: Tensor | None, mask: Tensor | None
    ) -> Float[Tensor, "B T D"]:
        """Return the head's normalised states."""
        return _normalised(self.norm, self.block(x, cosine, sine, mask))


class MLP(nn.Module):
    """Each position by itself: GELU, squared ReLU (Primer, arXiv:2109.08668) or SwiGLU (arXiv:2002.05202)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.kind, hidden = config.mlp, config.hidden_width
        self.up = nn.Linear(config.d_model, 2 * hidden if config.mlp == "swiglu" else hidden, bias=False)
        self.down = nn.Linear(hidden, config.d_model, bias=False)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Return the map of each position."""
        h = self.up(x)
        if self.kind == "swiglu":
            gate, value = h.chunk(2, dim=-1)
            h = F.silu(gate) * value
        else:
            h = F.gelu(h, approximate="tanh") if self.kind == "gelu" else F.relu(h).square()
        return cast(Tensor, self.down(h))
