"""Causal self-attention: keys and values of each head its own, or shared by groups of heads.

Shapes: B sequences, T tokens of each, D = d_model = H · K, H heads, K = head_dim, G heads of keys and values; S tokens
that keys and values are of: T, or all so far where T more are read.
"""

from typing import cast

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.counts import Counts, attended, vectors
from model.network.linears import linear, linear_counts
from model.network.linears.dense import Dense
from model.network.linears.stack import Stack
from model.network.mixers.scores import ScoredAttention
from model.network.part import Shared, Where
from model.network.positions import rotate
from model.network.shapes import Float
from model.options.layer import Layer

KEYS, VALUES = "keys", "values"
"""Names under which a block's keys and values (B G S K) are handed on."""
FIRST_VALUES = "first values"
"""Name under which the first block's values (B G T K) are handed on."""


class KeyValues:
    """Keys and values of the tokens read so far: what attention keeps, so that it reads no token twice."""

    def __init__(
        self, shape: tuple[int, int, int, int], device: torch.device, dtype: torch.dtype, value_width: int = 0
    ) -> None:
        """Make room for keys of (B G S K), and for values of that width or a width of their own."""
        widths = (shape[-1], value_width or shape[-1])
        self.keys, self.values = (torch.empty(*shape[:-1], width, device=device, dtype=dtype) for width in widths)
        self.length = 0

    def append(self, keys: Float[Tensor, "B G T K"], values: Float[Tensor, "B G T W"]) -> tuple[Tensor, Tensor]:
        """Store those of the next tokens; return all so far, (B G S K) and (B G S W)."""
        end = self.length + keys.shape[2]
        for stored, new in ((self.keys, keys), (self.values, values)):
            stored[:, :, self.length : end] = new
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class Attention(ScoredAttention):
    """What each position gathers from itself and those before it; full or grouped (arXiv:2305.13245)."""

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__(config, layer)
        self.make_projections(config)
        self.make_out(config)
        self.q_norm = nn.RMSNorm(config.head_dim) if config.qk_norm else None
        self.k_norm = nn.RMSNorm(config.head_dim) if config.qk_norm else None
        self.lends, self.gives_values = layer.lends, layer.values == "first"
        self.shares = nn.Parameter(torch.full((2,), 0.5)) if layer.values == "mixed" else None

    def make_projections(self, config: ModelConfig) -> None:
        """Make the layers that queries, keys and values come from."""
        self.qkv = linear(config, "attention.qkv", config.d_model, config.d_model + config.kv_width)

    def project(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T W"]:
        """Return queries, keys and values of all heads, side by side."""
        return cast(Tensor, self.qkv(x))

    @staticmethod
    def projection_counts(config: ModelConfig) -> Counts:
        """Return the counts of the layers that queries, keys and values come from."""
        return linear_counts(config, "attention.qkv", config.d_model, config.d_model + config.kv_width)

    def query_layer(self) -> tuple[Dense | Stack, int]:
        """Return the layer that queries come from, and the first of their rows."""
        return cast(Dense, self.qkv), 0

    def key_layer(self) -> tuple[Dense, int] | None:
        """Return the layer that keys come from, and the first of their rows; None where no head has its own."""
        one_each = self.kv_heads == self.n_head and not self.lends
        return (cast(Dense, self.qkv), self.n_head * self.head_dim) if one_each else None

    def forward(self, x: Float[Tensor, "B T D"], where: Where, shared: Shared) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return the gathered values."""
        q, k, v = self._heads(x, where)
        v, shared = self._mixed(v, shared)
        return self._looked(q, k, v, where, shared)

    def initial_state(self, batch: int, length: int, device: torch.device, dtype: torch.dtype) -> KeyValues:
        """Return the state before the first token, with room for `length`; `dtype` is that of matrix products."""
        return KeyValues((batch, self.kv_heads, length, self.head_dim), device, dtype)

    def step(
        self, x: Float[Tensor, "B T D"], state: KeyValues, where: Where, shared: Shared
    ) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return what `forward` does for the tokens that follow those in `state`, and add them to it."""
        q, k, v = self._heads(x, where)
        v, shared = self._mixed(v, shared)
        return self._looked(q, *state.append(k, v), where, shared)

    def _mixed(self, v: Tensor, shared: Shared) -> tuple[Tensor, Shared]:
        """Return the values to gather (value residuals, Zhou et al. 2024, arXiv:2410.17897), and what is handed on."""
        if self.gives_values:
            return v, {**shared, FIRST_VALUES: v}
        if self.shares is not None:
            return self.shares[0] * v + self.shares[1] * shared[FIRST_VALUES], shared
        return v, shared

    def _looked(self, q: Tensor, k: Tensor, v: Tensor, where: Where, shared: Shared) -> tuple[Tensor, Shared]:
        return self.gather(q, k, v, where), {**shared, KEYS: k, VALUES: v} if self.lends else shared

    def _heads(self, x: Tensor, where: Where) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B H T K), keys and values (B G T K), normalised and turned."""
        heads = torch.unflatten(self.project(x), -1, (-1, self.head_dim)).transpose(1, 2)
        q, k, v = torch.split(heads, [self.n_head, self.kv_heads, self.kv_heads], dim=1)
        return placed(q, self.q_norm, where), placed(k, self.k_norm, where), v

    @classmethod
    def counts(cls, config: ModelConfig, layer: Layer) -> Counts:
        """Return parameters and operations: those of the layers, and two products with each position attended to."""
        d = config.d_model
        return Counts.of(
            cls.projection_counts(config),
            linear_counts(config, "attention.out", d, d),
            Counts(0, 2 * d * attended(config.context, layer.window)),
            vectors(2 * config.head_dim if config.qk_norm else 0),
            vectors(2 if layer.values == "mixed" else 0),
        )


def placed(heads: Float[Tensor, "B H T K"], norm: nn.RMSNorm | None, where: Where) -> Float[Tensor, "B H T K"]:
    """Return queries or keys normalised, in float32 as the blocks' norms are, and turned by their positions."""
    if norm is not None:
        heads = norm(heads.float()).to(heads.dtype)
    return heads if where.cosine is None or where.sine is None else rotate(heads, where.cosine, where.sine)
