"""Attention of parallel tracks: each has some of the heads, and layers from and to a stream of its own.

Shapes: B sequences, T tokens of each, D = d_model, H heads of all tracks, K = head_dim, G heads of keys and values;
N tracks, C = N · B, the first track's sequences first.
"""

from typing import cast

import torch
from torch import Tensor

from model.config import ModelConfig
from model.network.counts import Counts, attended, vectors
from model.network.linears import initial_std
from model.network.linears.stack import Stack, TrackStack
from model.network.mixers.attention import Attention, placed
from model.network.part import Where
from model.network.shapes import Float
from model.network.track_norm import TrackNorm
from model.options.layer import Layer


class TrackAttention(Attention):
    """Attention of H heads, of which each track has H / N in a row: masks, cache and values are those of one track."""

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__(config, layer)
        self.n_tracks = config.n_tracks
        if config.qk_norm:
            self.q_norm, self.k_norm = (TrackNorm(config.n_tracks, config.head_dim) for _ in range(2))

    def make_projections(self, config: ModelConfig) -> None:
        """Make the layers that queries, keys and values come from."""
        n, width = config.n_tracks, config.d_model
        self.qkv = TrackStack(n, width, (width + config.kv_width) // n, initial_std(config, "attention.qkv"))

    def make_out(self, config: ModelConfig) -> None:
        """Make the projections back into the streams."""
        n, width = config.n_tracks, config.d_model
        self.out = TrackStack(n, width // n, width, initial_std(config, "attention.out"))

    def query_layer(self) -> tuple[Stack, int]:
        """Return the layers that queries come from, and the first of their rows."""
        return cast(Stack, self.qkv), 0

    def gather(
        self, q: Float[Tensor, "B H T K"], k: Float[Tensor, "B G S K"], v: Float[Tensor, "B G S K"], where: Where
    ) -> Float[Tensor, "C T D"]:
        """Return what each position gathers, mapped back into each track's stream."""
        gathered = torch.unflatten(self.attended_values(q, k, v, where.mask), 1, (self.n_tracks, -1))
        return cast(Tensor, self.out(gathered.permute(1, 0, 3, 2, 4).flatten(3).flatten(0, 1)))

    @torch.no_grad()
    def scale_scores(self, factors: Float[Tensor, "H"]) -> None:
        """Scale each head's scores by its queries and its keys alike, or by its queries where keys are shared."""
        n, own_keys = self.n_tracks, self.kv_heads == self.n_head
        rows = torch.unflatten(self.query_layer()[0].weight, 1, (-1, self.head_dim))  # (N, H/N + 2 G/N, K, D)
        heads = self.n_head // n * (2 if own_keys else 1)
        share = (factors.sqrt() if own_keys else factors).view(n, -1).repeat(1, 2 if own_keys else 1)
        rows[:, :heads].mul_(share[..., None, None])

    def _heads(self, x: Tensor, where: Where) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B H T K), keys and values (B G T K), normalised and turned, track after track."""
        n = self.n_tracks
        heads = torch.unflatten(self.project(x), -1, (-1, self.head_dim)).transpose(1, 2)
        q, k, v = torch.split(heads, [self.n_head // n, self.kv_heads // n, self.kv_heads // n], dim=1)
        q, k = placed(q, self.q_norm, where), placed(k, self.k_norm, where)
        return self._beside(q), self._beside(k), self._beside(v)

    def _beside(self, heads: Float[Tensor, "C _ T K"]) -> Float[Tensor, "B _ T K"]:
        """Return the tracks' heads beside one another."""
        return torch.unflatten(heads, 0, (self.n_tracks, -1)).transpose(0, 1).flatten(1, 2)

    @classmethod
    def counts(cls, config: ModelConfig, layer: Layer) -> Counts:
        """Return parameters and operations: attention's, with norms of each track's heads."""
        d, norms = config.d_model, 2 * config.head_dim if config.qk_norm else 0
        matrices = d * (2 * d + config.kv_width)
        return Counts.of(
            Counts(matrices, matrices + 2 * d * attended(config.context, layer.window)),
            vectors(config.n_tracks * norms + (2 if layer.values == "mixed" else 0)),
        )
