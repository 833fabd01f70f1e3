"""Latent attention: keys and values made from one narrow projection (DeepSeek-V2, arXiv:2405.04434).

Shapes: B sequences, T tokens of each, D = d_model, W the joint width of queries, keys and values.
"""

from typing import cast

import torch
from torch import Tensor

from model.config import ModelConfig
from model.network.counts import Counts
from model.network.linears import linear, linear_counts
from model.network.linears.dense import Dense
from model.network.mixers.attention import Attention
from model.network.shapes import Float


class LatentAttention(Attention):
    """Attention with p · (d + w) parameters for keys and values of joint width w instead of d · w.

    Smaller where p < d · w / (d + w): with d 256 and w 512, 131,072 parameters and a break-even at p = 170.67.
    """

    def make_projections(self, config: ModelConfig) -> None:
        """Make the layers that queries, keys and values come from."""
        width, narrow = config.d_model, config.projection_dim
        self.q = linear(config, "attention.q", width, width)
        self.kv_down = linear(config, "attention.kv_down", width, narrow)
        self.kv_up = linear(config, "attention.kv_up", narrow, config.kv_width)

    def project(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T W"]:
        """Return queries, keys and values of all heads, side by side."""
        return torch.cat((self.q(x), self.kv_up(self.kv_down(x))), dim=-1)

    def query_layer(self) -> tuple[Dense, int]:
        """Return the layer that queries come from, and the first of their rows."""
        return cast(Dense, self.q), 0

    def key_layer(self) -> tuple[Dense, int] | None:
        """Return the layer that keys come from, and the first of their rows; None where no head has its own."""
        return None if self.lends else (cast(Dense, self.kv_up), 0)

    @staticmethod
    def projection_counts(config: ModelConfig) -> Counts:
        """Return the counts of the layers that queries, keys and values come from."""
        width, narrow = config.d_model, config.projection_dim
        return Counts.of(
            linear_counts(config, "attention.q", width, width),
            linear_counts(config, "attention.kv_down", width, narrow),
            linear_counts(config, "attention.kv_up", narrow, config.kv_width),
        )
