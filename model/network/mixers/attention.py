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
from model.network.mixers.attend import attend
from model.network.part import Part, Shared, Where
from model.network.positions import rotate
from model.network.shapes import Float
from model.options.layer import Layer


class KeyValues:
    """Keys and values of the tokens read so far: what attention keeps, so that it reads no token twice."""

    def __init__(self, shape: tuple[int, int, int, int], device: torch.device, dtype: torch.dtype) -> None:
        """Make room for keys and values of (B G S K)."""
        self.keys, self.values = (torch.empty(shape, device=device, dtype=dtype) for _ in range(2))
        self.length = 0

    def append(self, keys: Float[Tensor, "B G T K"], values: Float[Tensor, "B G T K"]) -> tuple[Tensor, Tensor]:
        """Store those of the next tokens; return all so far, each (B G S K)."""
        end = self.length + keys.shape[2]
        for stored, new in ((self.keys, keys), (self.values, values)):
            stored[:, :, self.length : end] = new
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class Attention(Part):
    """What each position gathers from itself and those before it; full or grouped (arXiv:2305.13245)."""

    name = "attention"

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__(config, layer)
        self.n_head, self.kv_heads, self.head_dim = config.n_head, config.kv_heads, config.head_dim
        self.make_projections(config)
        self.out = linear(config, "attention.out", config.d_model, config.d_model)
        self.qk_norm = config.qk_norm
        if config.qk_norm:
            self.q_norm, self.k_norm = nn.RMSNorm(config.head_dim), nn.RMSNorm(config.head_dim)

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

    def forward(self, x: Float[Tensor, "B T D"], where: Where, shared: Shared) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return the gathered values."""
        q, k, v = self._heads(x, where)
        return self._gathered(q, k, v, where), shared

    def initial_state(self, batch: int, length: int, device: torch.device, dtype: torch.dtype) -> KeyValues:
        """Return the state before the first token, with room for `length`; `dtype` is that of matrix products."""
        return KeyValues((batch, self.kv_heads, length, self.head_dim), device, dtype)

    def step(
        self, x: Float[Tensor, "B T D"], state: KeyValues, where: Where, shared: Shared
    ) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return what `forward` does for the tokens that follow those in `state`, and add them to it."""
        q, k, v = self._heads(x, where)
        return self._gathered(q, *state.append(k, v), where), shared

    def _gathered(self, q: Tensor, k: Tensor, v: Tensor, where: Where) -> Tensor:
        return cast(Tensor, self.out(attend(q, k, v, where.mask).transpose(1, 2).flatten(2)))

    def _heads(self, x: Tensor, where: Where) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B H T K), keys and values (B G T K), normalised and turned."""
        heads = torch.unflatten(self.project(x), -1, (-1, self.head_dim)).transpose(1, 2)
        q, k, v = torch.split(heads, [self.n_head, self.kv_heads, self.kv_heads], dim=1)
        if self.qk_norm:  # in float32, as the blocks' norms are
            q, k = self.q_norm(q.float()).to(q.dtype), self.k_norm(k.float()).to(k.dtype)
        if where.cosine is not None and where.sine is not None:
            q, k = rotate(q, where.cosine, where.sine), rotate(k, where.cosine, where.sine)
        return q, k, v

    @classmethod
    def counts(cls, config: ModelConfig, layer: Layer) -> Counts:
        """Return parameters and operations: those of the layers, and two products with each position attended to."""
        d = config.d_model
        return Counts.of(
            cls.projection_counts(config),
            linear_counts(config, "attention.out", d, d),
            Counts(0, 2 * d * attended(config.context, layer.window)),
            vectors(2 * config.head_dim if config.qk_norm else 0),
        )
