"""Megalodon's mixer (Ma et al. 2024, arXiv:2404.08801): moving averages, and gated attention within chunks.

For x, the block's input after timestep normalisation, and x′ the normalised moving averages of it:

    z = x′ W_z, a unit vector for each head        q = κ_q z + μ_q, k = κ_k z + μ_k        v = silu(x W_v)
    y = x′ W_h + (softmax(q kᵀ) v · silu(x′ W_r)) W_u

What lies before a chunk reaches it through the averages. Differences from the authors' code: no biases, as nowhere in
this network's layers; queries and keys of a head are `head_dim` wide, together d_model and not a quarter of it; the
norms before the MLP and after the last block stay RMSNorm.

Shapes: B sequences, T tokens of each, D = d_model = H · K, H heads, K = head_dim, W = 2 · K the width of a head's
values; Q tokens of one chunk.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.counts import Counts, attended, vectors
from model.network.linears import linear, linear_counts
from model.network.mixers.attend import attend, segments_of
from model.network.mixers.attention import KeyValues, placed
from model.network.mixers.moving_average import MovingAverage, moving_average_products
from model.network.part import Part, Shared, Where
from model.network.shapes import Float
from model.options.layer import Layer

EXPANSION = 2
"""Width of the values ÷ d_model, as in the paper."""


@dataclass
class ChunkState:
    """What is kept of the tokens read so far: their averages, and keys and values of the chunk."""

    averages: Float[Tensor, "D B C"]
    near: KeyValues


class Megalodon(Part):
    """What each position gathers within its chunk, of values and queries that know the past by moving averages."""

    name = "megalodon"

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__(config, layer)
        d, values = config.d_model, EXPANSION * config.d_model
        self.n_head, self.head_dim, self.chunk = config.n_head, config.head_dim, config.attention_chunk
        self.average = MovingAverage(d, config.ema_dim)
        self.average_norm = nn.RMSNorm(d)
        self.into = linear(config, "megalodon.into", d, d + values)
        self.values = linear(config, "megalodon.values", d, values)
        self.through = linear(config, "megalodon.through", d, d)
        self.out = linear(config, "megalodon.out", values, d)
        # Of queries, then of keys; one dimension, as parameters that neither decay nor are Muon's.
        self.scale, self.shift = nn.Parameter(torch.ones(2 * d)), nn.Parameter(torch.zeros(2 * d))

    def forward(self, x: Float[Tensor, "B T D"], where: Where, shared: Shared) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return the gathered values, mapped back into the stream."""
        averaged, _ = self._averaged(x, self.average.initial_state(len(x), x.device))
        z, gate = self._projected(averaged)
        heads = (*self._queries_and_keys(z, where), self._values(x))
        size = min(self.chunk, x.shape[1])
        q, k, v = (segments_of(t, size).flatten(0, 1) for t in heads)
        gathered = attend(q, k, v, None)
        gathered = torch.unflatten(gathered, 0, (len(x), -1)).transpose(1, 2).flatten(2, 3)
        return self._back(averaged, gathered[:, :, : x.shape[1]], gate), shared

    def _averaged(self, x: Tensor, state: Tensor) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "D B C"]]:
        y, state = self.average(x, state)
        return self.average_norm(y), state

    def _projected(self, averaged: Float[Tensor, "B T D"]) -> tuple[Float[Tensor, "B T D"], Tensor]:
        """Return what queries and keys are made of, and the gate of what is gathered."""
        d = averaged.shape[-1]
        z, gate = torch.split(self.into(averaged), [d, EXPANSION * d], dim=-1)
        return z, F.silu(gate)

    def _queries_and_keys(self, z: Float[Tensor, "B T D"], where: Where) -> tuple[Tensor, Tensor]:
        """Return both (B H T K), normalised in float32, and turned; √K undoes the division of their product by it."""
        heads = torch.unflatten(z.float(), -1, (self.n_head, self.head_dim))
        root = math.sqrt(self.head_dim)
        units = (F.rms_norm(heads, (self.head_dim,)) / root).flatten(2)
        q, k = (units * scale + shift for scale, shift in zip(self.scale.chunk(2), self.shift.chunk(2), strict=True))
        return tuple(placed(self._by_head(t.to(z.dtype)), None, where) for t in (root * q, k))  # type: ignore[return-value]

    def _values(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B H T W"]:
        return self._by_head(F.silu(self.values(x)))

    def _by_head(self, t: Tensor) -> Tensor:
        return torch.unflatten(t, -1, (self.n_head, -1)).transpose(1, 2)

    def _back(self, averaged: Float[Tensor, "B T D"], gathered: Float[Tensor, "B H T W"], gate: Tensor) -> Tensor:
        """Return both ways back into the stream together."""
        back: Tensor = self.through(averaged) + self.out(gathered.transpose(1, 2).flatten(2) * gate)
        return back

    def initial_state(self, batch: int, length: int, device: torch.device, dtype: torch.dtype) -> ChunkState:
        """Return the state before the first token, with room for a chunk; `dtype` is that of matrix products."""
        shape = (batch, self.n_head, min(length, self.chunk), self.head_dim)
        near = KeyValues(shape, device, dtype, EXPANSION * self.head_dim)
        return ChunkState(self.average.initial_state(batch, device), near)

    def step(
        self, x: Float[Tensor, "B T D"], state: ChunkState, where: Where, shared: Shared
    ) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return what `forward` does for the tokens that follow those in `state`, and add them to it."""
        averaged, state.averages = self._averaged(x, state.averages)
        z, gate = self._projected(averaged)
        heads = (*self._queries_and_keys(z, where), self._values(x))
        gathered: list[Tensor] = []
        start = 0
        while start < x.shape[1]:  # no piece goes beyond the end of a chunk
            piece = slice(start, start + self.chunk - state.near.length)
            q, k, v = (t[:, :, piece] for t in heads)
            gathered.append(self._piece(q, k, v, state.near))
            start += gathered[-1].shape[2]
        return self._back(averaged, torch.cat(gathered, dim=2), gate), shared

    def _piece(self, q: Tensor, k: Tensor, v: Tensor, near: KeyValues) -> Float[Tensor, "B H Q W"]:
        """Return what tokens of one chunk gather; a complete chunk is forgotten."""
        keys, values = near.append(k, v)
        place = torch.arange(keys.shape[2], device=q.device)
        mask = place[None, :] <= place[-q.shape[2] :, None] if q.shape[2] > 1 else None
        near.length %= self.chunk
        return attend(q, keys, values, mask)

    @staticmethod
    def counts(config: ModelConfig, layer: Layer) -> Counts:
        """Return parameters and operations: those of the layers, of the averages, and of pairs within chunks."""
        d, values, n = config.d_model, EXPANSION * config.d_model, config.ema_dim
        size = min(config.attention_chunk, config.context)
        filled = -(-config.context // size) * size
        near = filled / config.context * (d + values) * attended(size, 0)
        return Counts.of(
            linear_counts(config, "megalodon.into", d, d + values),
            linear_counts(config, "megalodon.values", d, values),
            linear_counts(config, "megalodon.through", d, d),
            linear_counts(config, "megalodon.out", values, d),
            Counts(0, near + moving_average_products(config.context, d, n)),
            vectors(4 * n * d + 7 * d),
        )
