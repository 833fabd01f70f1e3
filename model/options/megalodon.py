"""Settings of Megalodon: moving averages, and attention within chunks."""

from dataclasses import dataclass, replace

from model.options.compressive import Compressive
from model.options.depths import MixtureOfDepths
from model.options.layer import Layer
from model.options.shortcuts import Shortcuts
from model.options.state_space import StateSpace
from model.options.together import require
from model.settings import setting


@dataclass(frozen=True, kw_only=True)
class MovingAverages(StateSpace, Compressive, MixtureOfDepths, Shortcuts):
    """What blocks of `mixer = "megalodon"` average, attend to and normalise."""

    ema_dim: int = setting(
        16, "Megalodon's moving averages of each channel, each with a decay and a rotation", at_least=1, at_most=256
    )
    attention_chunk: int = setting(
        256,
        "tokens of a chunk, within which Megalodon's attention looks back; averages bring what lies before",
        at_least=1,
    )
    norm_groups: int = setting(
        32,
        "groups of channels that Megalodon normalises over all tokens so far: the most up to this that divide d_model "
        "into groups of at least 2",
        at_least=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        rows = (
            ("attention", ("full",), "queries and keys of all heads come from one projection"),
            ("positions", ("rope",), "chunks know no bias of the distance"),
            ("window", (0,), "attention_chunk is how far attention looks back"),
            ("qk_norm", (False,), "queries and keys are normalised already"),
            ("segment", (0,), "averages carry what lies before a chunk"),
            ("depth_capacity", (0,), "averages have to see every token"),
        )
        if self.mixer == "megalodon":
            require(self, 'mixer = "megalodon"', rows)

    @property
    def timestep_groups(self) -> int:
        """Groups of channels of timestep normalisation: one channel alone would have no spread at the first token."""
        half = self.d_model // 2
        return max(n for n in range(1, min(half, self.norm_groups) + 1) if self.d_model % n == 0)

    def layer(self, index: int) -> Layer:
        """Return a block's layer; the residual of a block with averages takes two hops."""
        layer = super().layer(index)
        return replace(layer, block="two_hop") if layer.mixer == "megalodon" else layer
