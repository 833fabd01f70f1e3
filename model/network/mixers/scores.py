"""What every attention does with queries, keys and values; and a look at its scores, for who limits them.

Shapes: B sequences, T tokens of each, S tokens that keys and values are of, D = d_model, H heads, K = head_dim, G heads
of keys and values.
"""

import math
from typing import cast

import torch
from torch import Tensor

from model.config import ModelConfig
from model.network.linears import linear
from model.network.linears.dense import Dense
from model.network.linears.stack import Stack
from model.network.mixers.attend import attend
from model.network.part import Part, Where
from model.network.shapes import Float
from model.options.layer import Layer

SCORES_AT_ONCE = 2**24
"""Scores held at a time while the largest is looked for."""


class ScoredAttention(Part):
    """Gathers values by the scores of queries and keys, and can keep each head's largest score.

    A subclass has `query_layer` and `key_layer`: the linear layer and the first of its rows.
    """

    name = "attention"
    largest: Tensor | None
    """The largest score (H,) of each head since it was last zeroed, at least 0; None where it isn't watched."""

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__(config, layer)
        self.n_head, self.kv_heads, self.head_dim = config.n_head, config.kv_heads, config.head_dim
        self.register_buffer("largest", None, persistent=False)

    def make_out(self, config: ModelConfig) -> None:
        """Make the projection back into the stream."""
        self.out = linear(config, "attention.out", config.d_model, config.d_model)

    def gather(
        self, q: Float[Tensor, "B H T K"], k: Float[Tensor, "B G S K"], v: Float[Tensor, "B G S K"], where: Where
    ) -> Float[Tensor, "B T D"]:
        """Return what each position gathers, mapped back into the stream."""
        return cast(Tensor, self.out(self.attended_values(q, k, v, where.mask).transpose(1, 2).flatten(2)))

    def attended_values(
        self, q: Float[Tensor, "B H T K"], k: Float[Tensor, "B G S K"], v: Float[Tensor, "B G S K"], mask: Tensor | None
    ) -> Float[Tensor, "B H T K"]:
        """Return the values gathered by each head; scores are watched where they are limited."""
        if self.largest is not None and torch.is_grad_enabled():  # in training alone, not where a network is measured
            self.largest.copy_(torch.maximum(self.largest, largest_scores(q.detach(), k.detach(), mask)))
        return attend(q, k, v, mask)

    def watch_scores(self) -> None:
        """Keep each head's largest score from now on."""
        self.largest = torch.zeros(self.n_head, device=self.query_layer()[0].weight.device)

    def query_layer(self) -> tuple[Dense | Stack, int]:
        """Return the layer that queries come from, and the first of their rows."""
        raise NotImplementedError

    def key_layer(self) -> tuple[Dense, int] | None:
        """Return the layer that keys come from, and the first of their rows; None where no head has its own."""
        raise NotImplementedError

    @torch.no_grad()
    def scale_scores(self, factors: Float[Tensor, "H"]) -> None:
        """Scale each head's scores by its queries and its keys alike, or by its queries where keys are shared."""
        keys = self.key_layer()
        for layer, first in (self.query_layer(), *([keys] if keys is not None else [])):
            rows = layer.weight[first : first + self.n_head * self.head_dim].view(self.n_head, self.head_dim, -1)
            rows.mul_((factors.sqrt() if keys is not None else factors)[:, None, None])


def largest_scores(q: Float[Tensor, "B H T K"], k: Float[Tensor, "B G S K"], mask: Tensor | None) -> Float[Tensor, "H"]:
    """Return the largest q·k / √K of each head over all pairs that are seen, without the bias of positions."""
    batch, n_head, length = q.shape[:3]
    rows = max(1, SCORES_AT_ONCE // (batch * n_head * k.shape[2]))
    k = k.repeat_interleave(n_head // k.shape[1], dim=1)
    place = torch.arange(length, device=q.device)
    found = []
    for first in range(0, length, rows):
        part = slice(first, first + rows)
        if mask is None:
            seen = place[None, :] <= place[part, None]
        else:
            seen = mask[..., part, :]
            seen = seen > -math.inf if seen.is_floating_point() else seen
        scores = (q[:, :, part] @ k.transpose(-1, -2)).masked_fill(~seen, -math.inf)
        found.append(scores.amax(dim=(0, 2, 3)).float())
    return torch.stack(found).amax(dim=0) / math.sqrt(q.shape[-1])
