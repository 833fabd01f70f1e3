"""The plain block: a mixer, then an MLP, each on a normalised copy of the stream.

Shapes: B sequences, T tokens of each, D = d_model.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.counts import Counts, vectors
from model.network.mixers import MIXERS
from model.network.mlps import MLPS
from model.network.part import EMBEDDING, Part, Shared, Where
from model.network.shapes import Float
from model.options.layer import Layer


class Block(Part):
    """Adds to the stream what a mixer and an MLP make of it.

    A mixer is registered under its own name: the weights of attention are called `attention.…` in every file.
    """

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__(config, layer)
        mixer = MIXERS[layer.mixer]
        self._mixer_name = mixer.name
        self.shortcut = nn.Parameter(torch.zeros(1)) if layer.shortcut else None
        self.add_module(f"{mixer.name}_norm", self.make_mixer_norm(config))
        self.add_module(mixer.name, mixer(config, layer))
        self.mlp_norm = nn.RMSNorm(config.d_model)
        self.mlp = MLPS[layer.mlp](config, layer)

    @staticmethod
    def make_mixer_norm(config: ModelConfig) -> nn.Module:
        """Return the norm before the mixer."""
        return nn.RMSNorm(config.d_model)

    @property
    def mixer(self) -> Part:
        """The part that lets positions look at those before them."""
        return cast(Part, getattr(self, self._mixer_name))

    @property
    def mixer_norm(self) -> nn.Module:
        """The norm before the mixer."""
        return cast(nn.Module, getattr(self, f"{self._mixer_name}_norm"))

    def forward(self, x: Float[Tensor, "B T D"], where: Where, shared: Shared) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return the stream after this block."""
        x = self._with_embedding(x, shared)
        # Each part comes back in the type of matrix products: a narrow stream stays one.
        mixed, shared = self.mixer(normalised(self.mixer_norm, x), where, shared)
        x = x + mixed
        mapped, shared = self.mlp(normalised(self.mlp_norm, x), where, shared)
        return x + mapped, shared

    def _with_embedding(self, x: Tensor, shared: Shared) -> Tensor:
        """Return the block's input, a share of the embedding added (KellerJordan/modded-nanogpt's "shortcuts")."""
        return x if self.shortcut is None else x + self.shortcut.to(x.dtype) * shared[EMBEDDING]

    def initial_state(self, batch: int, length: int, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
        """Return the states of both parts."""
        parts = (self.mixer, self.mlp)
        mixer, mlp = (part.initial_state(batch, length, device, dtype) for part in parts)
        return mixer, mlp

    def step(
        self, x: Float[Tensor, "B T D"], state: tuple[Any, Any], where: Where, shared: Shared
    ) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return what `forward` does for the tokens that follow those in `state`, and add them to it."""
        x = self._with_embedding(x, shared)
        mixed, shared = self.mixer.step(normalised(self.mixer_norm, x), state[0], where, shared)
        x = x + mixed
        mapped, shared = self.mlp.step(normalised(self.mlp_norm, x), state[1], where, shared)
        return x + mapped, shared

    @staticmethod
    def counts(config: ModelConfig, layer: Layer) -> Counts:
        """Return parameters and operations: those of both parts, and two norms."""
        parts = (MIXERS[layer.mixer], MLPS[layer.mlp])
        beside = vectors(2 * config.d_model + layer.shortcut)
        return Counts.of(*(part.counts(config, layer) for part in parts), beside)


def normalised(norm: nn.Module, x: Tensor) -> Tensor:
    """Return the stream at a common size; in float32, whatever the stream is kept in."""
    return cast(Tensor, norm(x.float()))
