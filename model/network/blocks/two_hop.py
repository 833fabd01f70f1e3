"""Megalodon's block: timestep normalisation before the mixer, and a residual of two hops.

Ma et al. 2024, arXiv:2404.08801, section 3.4: what the mixer makes is seen by the MLP alone, whose output is added to
the block's own input, so that no block's addition grows through both parts.

Shapes: B sequences, T tokens of each, D = d_model.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.blocks.residual import Block, normalised
from model.network.blocks.timestep_norm import Moments, TimestepNorm
from model.network.counts import Counts, vectors
from model.network.part import Shared, Where
from model.network.shapes import Float
from model.options.layer import Layer


@dataclass
class TwoHopState:
    """What the block keeps of the tokens read so far."""

    moments: Moments | None
    parts: tuple[Any, Any]
    """The states of mixer and MLP."""


class TwoHopBlock(Block):
    """x + MLP(norm(x + mixer(timestep norm of x)))."""

    @staticmethod
    def make_mixer_norm(config: ModelConfig) -> nn.Module:
        """Return the norm before the mixer."""
        return TimestepNorm(config.d_model, config.timestep_groups)

    def forward(self, x: Float[Tensor, "B T D"], where: Where, shared: Shared) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return the stream after this block."""
        x = self._with_embedding(x, shared)
        mixed, shared = self.mixer(self._timestep_norm(x), where, shared)
        mapped, shared = self.mlp(normalised(self.mlp_norm, x + mixed), where, shared)
        return x + mapped, shared

    @property
    def _timestep_norm(self) -> TimestepNorm:
        return cast(TimestepNorm, self.mixer_norm)

    def initial_state(  # type: ignore[override]
        self, batch: int, length: int, device: torch.device, dtype: torch.dtype
    ) -> TwoHopState:
        """Return the state before the first token, with room for `length`."""
        return TwoHopState(None, super().initial_state(batch, length, device, dtype))

    def step(  # type: ignore[override]
        self, x: Float[Tensor, "B T D"], state: TwoHopState, where: Where, shared: Shared
    ) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return what `forward` does for the tokens that follow those in `state`, and add them to it."""
        x = self._with_embedding(x, shared)
        seen, state.moments = self._timestep_norm.read(x, state.moments)
        mixed, shared = self.mixer.step(seen, state.parts[0], where, shared)
        mapped, shared = self.mlp.step(normalised(self.mlp_norm, x + mixed), state.parts[1], where, shared)
        return x + mapped, shared

    @staticmethod
    def counts(config: ModelConfig, layer: Layer) -> Counts:
        """Return parameters and operations: a plain block's, and the timestep norm's bias."""
        return Counts.of(Block.counts(config, layer), vectors(config.d_model))
