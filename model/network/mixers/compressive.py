"""Attention within segments, and a memory of fixed size for all before: Infini-attention.

Munkhdalai et al. 2024, arXiv:2404.07143, section 2.1, its linear update. With σ(x) = ELU(x) + 1, for each head:

    memory = Σ σ(k_s)ᵀ v_s, norm = Σ σ(k_s) over earlier segments      read = σ(q) memory / (σ(q) · norm)
    y = sigmoid(β) read + (1 − sigmoid(β)) attention within the segment

Shapes: B sequences, T tokens of each, D = d_model = H · K, H heads, K = head_dim, G heads of keys and values; M
segments of Q tokens each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.counts import Counts, attended, vectors
from model.network.linears import linear_counts
from model.network.mixers.attend import segments_of
from model.network.mixers.attention import Attention, KeyValues, placed
from model.network.part import Shared, Where
from model.network.shapes import Float
from model.options.layer import Layer

LEAST_NORM = 1e-6
"""Smallest divisor of what is read from a memory."""


class Memory:
    """Sums over tokens, in float32: what is read from them, and by what it is divided."""

    def __init__(self, values: Float[Tensor, "*batch G K K"], norm: Float[Tensor, "*batch G K"]) -> None:
        self.values, self.norm = values, norm

    @staticmethod
    def of(keys: Float[Tensor, "*batch G Q K"], values: Float[Tensor, "*batch G Q K"]) -> "Memory":
        """Return the memory of these tokens alone."""
        made = features(keys)
        return Memory((made.mT @ values).float(), made.sum(dim=-2))

    def read(self, queries: Float[Tensor, "*batch H Q K"]) -> Float[Tensor, "*batch H Q K"]:
        """Return what each query reads; keys and values may be shared by groups of heads."""
        group, asked = queries.shape[-3] // self.norm.shape[-2], features(queries)
        values = self.values.repeat_interleave(group, dim=-3)
        norm = self.norm.repeat_interleave(group, dim=-2)[..., None, :]
        return (asked @ values) / (asked * norm).sum(dim=-1, keepdim=True).clamp(min=LEAST_NORM)


@dataclass
class SegmentState:
    """What is kept of the tokens read so far: keys and values of the segment, sums of it and of those before."""

    near: KeyValues
    far: Memory
    growing: Memory
    any_far: bool = False
    """Whether a segment is complete, so that there is something to read."""


class CompressiveAttention(Attention):
    """Attention within a segment, mixed by each head's gate with what it reads from the memory of those before."""

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__(config, layer)
        self.segment = config.segment
        self.gate = nn.Parameter(torch.zeros(config.n_head))

    def forward(self, x: Float[Tensor, "B T D"], where: Where, shared: Shared) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return the gathered values."""
        q, k, v, shared = self._unplaced(x, shared)
        size = min(self.segment, x.shape[1])
        near_q, near_k, v = (segments_of(t, size) for t in (placed(q, None, where), placed(k, None, where), v))
        near = self.attended_values(near_q.flatten(0, 1), near_k.flatten(0, 1), v.flatten(0, 1), None)
        near = torch.unflatten(near, 0, v.shape[:2])
        far = torch.zeros_like(near)
        if near.shape[1] > 1:
            made = Memory.of(segments_of(k, size)[:, :-1], v[:, :-1])
            before = Memory(made.values.cumsum(dim=1), made.norm.cumsum(dim=1))
            far = F.pad(before.read(segments_of(q, size)[:, 1:]), (0, 0, 0, 0, 0, 0, 1, 0))  # the first has none before
        y = self._gated(near, far).transpose(1, 2).flatten(2, 3)[:, :, : x.shape[1]]
        return self.out(y.transpose(1, 2).flatten(2)), shared

    def _unplaced(self, x: Tensor, shared: Shared) -> tuple[Tensor, Tensor, Tensor, Shared]:
        """Return queries, keys and values, not turned by positions, which a memory doesn't know."""
        q, k, v = self._heads(x, Where(None, None, None))
        return q, k, *self._mixed(v, shared)

    def _gated(self, near: Float[Tensor, "*batch H Q K"], far: Float[Tensor, "*batch H Q K"]) -> Tensor:
        share = self.gate.sigmoid()[:, None, None]
        return share * far + (1 - share) * near

    def initial_state(  # type: ignore[override]
        self, batch: int, length: int, device: torch.device, dtype: torch.dtype
    ) -> SegmentState:
        """Return the state before the first token, with room for a segment; `dtype` is that of matrix products."""
        heads, width = self.kv_heads, self.head_dim
        near = KeyValues((batch, heads, min(length, self.segment), width), device, dtype)
        return SegmentState(near, self._empty(batch, device), self._empty(batch, device))

    def _empty(self, batch: int, device: torch.device) -> Memory:
        shape = (batch, self.kv_heads, self.head_dim)
        return Memory(torch.zeros(*shape, self.head_dim, device=device), torch.zeros(shape, device=device))

    def step(  # type: ignore[override]
        self, x: Float[Tensor, "B T D"], state: SegmentState, where: Where, shared: Shared
    ) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return what `forward` does for the tokens that follow those in `state`, and add them to it."""
        q, k, v, shared = self._unplaced(x, shared)
        heads = q, k, v, placed(q, None, where), placed(k, None, where)
        y: list[Tensor] = []
        start = 0
        while start < x.shape[1]:  # no piece goes beyond the end of a segment
            piece = slice(start, start + self.segment - state.near.length)
            y.append(self._piece([t[:, :, piece] for t in heads], state))
            start += y[-1].shape[2]
        return self.out(torch.cat(y, dim=2).transpose(1, 2).flatten(2)), shared

    def _piece(self, heads: Sequence[Tensor], state: SegmentState) -> Float[Tensor, "B H Q K"]:
        """Return what tokens of one segment gather: of queries, keys, values, and of both first ones turned."""
        q, k, v, near_q, near_k = heads
        keys, values = state.near.append(near_k, v)
        place = torch.arange(keys.shape[2], device=q.device)
        mask = place[None, :] <= place[-q.shape[2] :, None]
        near = self.attended_values(near_q, keys, values, mask)
        y = self._gated(near, state.far.read(q) if state.any_far else torch.zeros_like(near))
        added = Memory.of(k, v)
        state.growing = Memory(state.growing.values + added.values, state.growing.norm + added.norm)
        if state.near.length == self.segment:
            far, growing = state.far, state.growing
            state.far = Memory(far.values + growing.values, far.norm + growing.norm)
            state.growing, state.near.length, state.any_far = self._empty(len(q), q.device), 0, True
        return y

    @classmethod
    def counts(cls, config: ModelConfig, layer: Layer) -> Counts:
        """Return parameters and operations: pairs within segments, and a memory written and read between them."""
        d, size = config.d_model, min(config.segment, config.context)
        segments = -(-config.context // size)
        near = segments * size * 2 * d * attended(size, 0)
        far = (segments - 1) * size * (config.n_head + config.kv_heads) * config.head_dim**2
        return Counts.of(
            cls.projection_counts(config),
            linear_counts(config, "attention.out", d, d),
            Counts(0, (near + far) / config.context),
            vectors(config.n_head),
            vectors(2 * config.head_dim if config.qk_norm else 0),
            vectors(2 if layer.values == "mixed" else 0),
        )


def features(x: Tensor) -> Tensor:
    """Return σ(x) = ELU(x) + 1 > 0, in float32."""
    return F.elu(x.float()) + 1
