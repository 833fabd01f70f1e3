"""Settings of a mixture of depths: blocks that take a share of the tokens."""

import math
from dataclasses import dataclass, replace

from model.errors import SettingsError
from model.options.layer import Layer
from model.options.plain import PlainConfig
from model.settings import setting

PLAIN_MIXERS, PLAIN_MLPS = ("full", "grouped", "latent"), ("gelu", "relu2", "swiglu")


@dataclass(frozen=True, kw_only=True)
class MixtureOfDepths(PlainConfig):
    """How many tokens pass through a block, and which blocks choose."""

    depth_capacity: float = setting(
        0.0,
        "share of the tokens that a choosing block takes, the others passing by; 0: every block takes all",
        at_least=0,
        below=1,
    )
    depth_every: int = setting(2, "every so many blocks the last chooses its tokens", at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.depth_capacity:
            return
        if self.positions != "rope":
            raise SettingsError(
                f'`depth_capacity` is {self.depth_capacity}, but must be 0 where positions = "{self.positions}": a '
                "bias for each head, sequence and pair of chosen tokens would not fit into memory"
            )
        for layer in self.layers:
            if layer.block == "depths" and not _alone(layer):
                raise SettingsError(
                    f"`depth_capacity` is {self.depth_capacity}, but must be 0 beside experts, blocks that share keys, "
                    "values or the embedding, and mixers other than attention: those have to see every token"
                )

    def chosen_tokens(self, length: int) -> int:
        """Return how many of so many tokens a choosing block takes in training."""
        return max(1, math.ceil(self.depth_capacity * length))

    @property
    def penalised(self) -> bool:
        """Whether blocks add to the loss."""
        return super().penalised or self.depth_capacity > 0

    def layer(self, index: int) -> Layer:
        """Return a block's layer; the last of each group chooses its tokens (Raposo et al. 2024, arXiv:2404.02258)."""
        layer = super().layer(index)
        chooses = self.depth_capacity and index % self.depth_every == self.depth_every - 1
        return replace(layer, block="depths") if chooses else layer


def _alone(layer: Layer) -> bool:
    """Return whether a block needs nothing of other blocks, and nothing of tokens that pass it by."""
    plain = layer.mixer in PLAIN_MIXERS and layer.mlp in PLAIN_MLPS
    return plain and not (layer.lends or layer.shortcut or layer.values != "own")
