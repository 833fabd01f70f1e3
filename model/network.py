"""A decoder-only transformer: RMSNorm before each part, rotary positions, tied embeddings.

Shapes: B sequences, T tokens of each, D = d_model = H · K, H heads, K = head_dim, M hidden width, V vocabulary.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.config import ModelConfig

INITIAL_STD = 0.02


class Transformer(nn.Module):
    """Logits of the next token at every position.

    Embeddings are tied and drawn with a standard deviation of 0.02, so that an untrained network's loss is close
    to ln V; projections back into the residual stream are scaled by 1/√(2 · n_layer) (GPT-2). Draws come from
    `generator`, and from nowhere else.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        with torch.random.fork_rng(devices=[]):  # torch's own initial draws, which ours replace
            self.embedding = nn.Embedding(vocab_size, config.d_model)
            self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = nn.RMSNorm(config.d_model)
        cosine, sine = rotations(config.context, config.head_dim, config.rope_base)
        self.cosine: Tensor
        self.sine: Tensor
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)
        self._draw(generator)

    def _draw(self, generator: torch.Generator | None) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim >= 2:
                back = name.endswith(("attention.out.weight", "mlp.down.weight"))
                std = INITIAL_STD / math.sqrt(2 * self.config.n_layer) if back else INITIAL_STD
                nn.init.normal_(parameter, std=std, generator=generator)

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Return the logits; T is at most the configuration's context."""
        x = self.embedding(tokens)
        cosine, sine = self.cosine[: tokens.shape[1]], self.sine[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, cosine, sine)
        return F.linear(self.norm(x), self.embedding.weight)


class Block(nn.Module):
    """Attention, then MLP, each on a normalised copy of the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.d_model)
        self.attention = Attention(config)
        self.mlp_norm = nn.RMSNorm(config.d_model)
        self.mlp = MLP(config)

    def forward(
        self, x: Float[Tensor, "B T D"], cosine: Float[Tensor, "T K"], sine: Float[Tensor, "T K"]
    ) -> Float[Tensor, "B T D"]:
        """Return the stream after this block."""
        x = x + self.attention(self.attention_norm(x), cosine, sine)
        return cast(Tensor, x + self.mlp(self.mlp_norm(x)))


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_head, self.head_dim = config.n_head, config.head_dim
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(
        self, x: Float[Tensor, "B T D"], cosine: Float[Tensor, "T K"], sine: Float[Tensor, "T K"]
    ) -> Float[Tensor, "B T D"]:
        """Return what each position gathers from itself and those before it."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_head, self.head_dim)).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(rotate(q, cosine, sine), rotate(k, cosine, sine), v, is_causal=True)
        return cast(Tensor, self.out(y.transpose(1, 2).flatten(2)))


class MLP(nn.Module):
    """Two linear maps with a GELU between them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, hidden_width(config), bias=False)
        self.down = nn.Linear(hidden_width(config), config.d_model, bias=False)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Return the map of each position by itself."""
        return cast(Tensor, self.down(F.gelu(self.up(x), approximate="tanh")))


def hidden_width(config: ModelConfig) -> int:
    """Return M, rounded to a multiple of 16."""
    return max(16, round(config.mlp_ratio * config.d_model / 16) * 16)


def rotations(context: int, head_dim: int, base: float) -> tuple[Float[Tensor, "T K"], Float[Tensor, "T K"]]:
    """Return cosine and sine of each position's angles (RoPE, Su et al. 2021, arXiv:2104.09864)."""
    wave = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angle = torch.outer(torch.arange(context, dtype=torch.float32), wave).repeat(1, 2)
    return angle.cos(), angle.sin()


def rotate(
    x: Float[Tensor, "B H T K"], cosine: Float[Tensor, "T K"], sine: Float[Tensor, "T K"]
) -> Float[Tensor, "B H T K"]:
    """Turn each pair (i, i + K/2) by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    turned = x * cosine + torch.cat((-second, first), dim=-1) * sine
    return turned.to(x.dtype)


def count_parameters(config: ModelConfig, vocab_size: int) -> int:
    """Return the number of all parameters, tied embeddings counted once, by closed form."""
    d = config.d_model
    return vocab_size * d + config.n_layer * (4 * d * d + 2 * d * hidden_width(config) + 2 * d) + d
