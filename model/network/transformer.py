"""A decoder-only transformer: RMSNorm before each part, mixers, MLPs and blocks of several kinds.

Shapes: B sequences, T tokens of each, D = d_model, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.blocks import make_block
from model.network.blocks.residual import normalised
from model.network.device import maybe_compiled
from model.network.linears import INITIAL_STD
from model.network.part import EMBEDDING, PENALTY, Drawn, Part, Shared, Where
from model.network.positions import Positions
from model.network.shapes import Float, Int

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
        self.layers = config.layers
        with torch.random.fork_rng(devices=[]):  # torch's own initial draws, which ours replace
            self.embedding = nn.Embedding(vocab_size, config.d_model)
            self.blocks = nn.ModuleList(make_block(config, layer) for layer in self.layers)
            self.mtp = nn.ModuleList(FurtherHead(config) for _ in range(config.mtp_heads))
            self.unembedding = None if config.tied else nn.Linear(config.d_model, vocab_size, bias=False)
        self.embedding_norm = nn.RMSNorm(config.d_model) if config.embedding_norm else None
        self.norm = nn.RMSNorm(config.d_model)
        self.positions = Positions(config)
        self._draw(generator)

    def _draw(self, generator: torch.Generator | None) -> None:
        """Draw initial weights, each module's in its turn; those with a `draw` of their own know how."""
        for module in self.modules():
            if isinstance(module, Drawn):
                module.draw(generator)
            elif isinstance(module, nn.Embedding | nn.Linear):
                nn.init.normal_(module.weight, std=INITIAL_STD, generator=generator)

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
        blocks = [cast(Part, b).initial_state(batch, length, device, dtype) for b in self.blocks]
        return ReadState(blocks, torch.empty(batch, 0, dtype=torch.int64, device=device))

    def step(self, tokens: Int[Tensor, "B T"], state: "ReadState") -> Float[Tensor, "B V"]:
        """Return the logits after the last of these tokens, which follow those in `state`; they are added to it.

        As `forward` gives them for all tokens so far, which must be no more than the configuration's context.
        """
        return self.next_logits(self.read(tokens, state))

    def read(self, tokens: Int[Tensor, "B T"], state: "ReadState") -> Float[Tensor, "B T D"]:
        """Return the normalised last states of tokens that follow those in `state`, and add them to it."""
        start = state.tokens.shape[1]
        state.tokens = torch.cat((state.tokens, tokens), dim=1)
        where = self.positions(state.tokens, start)
        x = _embedded(self.embedding, self.embedding_norm, tokens, self.narrow_stream)
        shared = self.handed_on_first(x)
        for block, layer, block_state in zip(self.blocks, self.layers, state.blocks, strict=True):
            x, shared = cast(Part, block).step(x, block_state, where[layer.window], shared)
        return normalised(self.norm, x)

    def handed_on_first(self, x: Float[Tensor, "B T D"]) -> Shared:
        """Return what is handed to the first block beside the embedding."""
        shared = {EMBEDDING: x} if any(layer.shortcut for layer in self.layers) else {}
        # A zero that has a gradient, as all later sums have: blocks of a kind then stay one compiled graph.
        return {**shared, PENALTY: 0.0 * x.flatten()[0].float()} if self.config.penalised else shared

    def next_logits(self, states: Float[Tensor, "B T D"]) -> Float[Tensor, "B V"]:
        """Return the logits after the last position, of normalised states."""
        return softcap(F.linear(states[:, -1], self.output_weight), self.config.logit_softcap)

    def states(
        self, tokens: Int[Tensor, "B T"], heads: int = 0, *, compiled: bool = False
    ) -> list[Float[Tensor, "B T D"]]:
        """Return the normalised last states, and those of the first `heads` heads that predict further on."""
        return self.outputs(tokens, heads, compiled=compiled)[0]

    def outputs(
        self, tokens: Int[Tensor, "B T"], heads: int = 0, *, compiled: bool = False
    ) -> tuple[list[Float[Tensor, "B T D"]], Shared]:
        """Return `states` and what the last block hands on.

        `compiled` runs blocks compiled: all of one kind are one graph, whatever their number, so that networks of other
        depths find it in the compiler's cache. On a GPU the two ends are compiled, too.
        """
        run = maybe_compiled(call, compiled)
        ends = compiled and COMPILED_ENDS and tokens.device.type == "cuda"
        where = self.positions(tokens)
        x = maybe_compiled(_embedded, ends)(self.embedding, self.embedding_norm, tokens, self.narrow_stream)
        shared = self.handed_on_first(x)
        for block, layer in zip(self.blocks, self.layers, strict=True):
            x, shared = run(block, x, where[layer.window], shared)
        further = [run(head, x, where[self.config.further_layer.window], shared) for head in self.mtp[:heads]]
        return [maybe_compiled(normalised, ends)(self.norm, x), *further], shared


@dataclass
class ReadState:
    """What a network keeps of the tokens read so far."""

    blocks: list[Any]
    """What each block keeps of them."""
    tokens: Int[Tensor, "B S"]

    @property
    def length(self) -> int:
        """The number of tokens read so far."""
        return self.tokens.shape[1]


# Functions of their own: torch's compiler counts the shapes of each, and compiles no more than eight.
def call(module: nn.Module, *inputs: Any) -> Any:
    """Return the module's output; compiled, it serves every block of a network at the price of one."""
    return module(*inputs)


def _embedded(embedding: nn.Embedding, norm: nn.RMSNorm | None, tokens: Tensor, narrow: bool) -> Tensor:
    x = embedding(tokens)
    x = x if norm is None else norm(x)
    kind = tokens.device.type
    return cast(Tensor, x.to(torch.get_autocast_dtype(kind)) if narrow and torch.is_autocast_enabled(kind) else x)


def softcap(logits: Tensor, cap: float) -> Tensor:
    """Return c · tanh(logits / c), or the logits where the cap is 0 (Gemma 2, arXiv:2408.00118)."""
    return cap * torch.tanh(logits / cap) if cap else logits


class FurtherHead(nn.Module):
    """A block of its own on the trunk's stream, for a token further on (Gloeckle et al. 2024, arXiv:2404.19737)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.block = make_block(config, config.further_layer)
        self.norm = nn.RMSNorm(config.d_model)

    def forward(self, x: Float[Tensor, "B T D"], where: Where, shared: Shared) -> Float[Tensor, "B T D"]:
        """Return the head's normalised states."""
        return normalised(self.norm, self.block(x, where, shared)[0])
