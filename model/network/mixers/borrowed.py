"""Attention to the keys and values of an earlier block (cross-layer attention, Brandon et al. 2024, arXiv:2405.12981).

Shapes: B sequences, T tokens of each, D = d_model.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.counts import Counts, attended, vectors
from model.network.linears import linear, linear_counts
from model.network.linears.dense import Dense
from model.network.mixers.attention import KEYS, VALUES, placed
from model.network.mixers.scores import ScoredAttention
from model.network.part import Shared, Where
from model.network.shapes import Float
from model.options.layer import Layer


class BorrowedAttention(ScoredAttention):
    """Queries of its own; keys and values are handed on by the block before, which made them or borrowed them, too."""

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__(config, layer)
        self.lends = layer.lends
        self.q = linear(config, "attention.q", config.d_model, config.d_model)
        self.make_out(config)
        self.q_norm = nn.RMSNorm(config.head_dim) if config.qk_norm else None

    def query_layer(self) -> tuple[Dense, int]:
        """Return the layer that queries come from, and the first of their rows."""
        return cast(Dense, self.q), 0

    def key_layer(self) -> None:
        """Return None: keys are another block's."""

    def forward(self, x: Float[Tensor, "B T D"], where: Where, shared: Shared) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return the gathered values; the last of a group hands no keys on."""
        q = torch.unflatten(self.q(x), -1, (-1, self.head_dim)).transpose(1, 2)
        y = self.gather(placed(q, self.q_norm, where), shared[KEYS], shared[VALUES], where)
        return y, shared if self.lends else {name: t for name, t in shared.items() if name not in (KEYS, VALUES)}

    def step(
        self, x: Float[Tensor, "B T D"], state: Any, where: Where, shared: Shared
    ) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return what `forward` does: the lender hands on the keys and values of all tokens so far."""
        return self.forward(x, where, shared)

    @staticmethod
    def counts(config: ModelConfig, layer: Layer) -> Counts:
        """Return parameters and operations: attention's without the layers that keys and values come from."""
        d = config.d_model
        return Counts.of(
            linear_counts(config, "attention.q", d, d),
            linear_counts(config, "attention.out", d, d),
            Counts(0, 2 * d * attended(config.context, layer.window)),
            vectors(config.head_dim if config.qk_norm else 0),
        )
