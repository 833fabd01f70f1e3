"""Settings of short paths through the network, and of how it begins: small things that paid in trainings of minutes."""

from dataclasses import dataclass, replace

from model.options.layer import Layer
from model.options.plain import PlainConfig
from model.settings import setting


@dataclass(frozen=True, kw_only=True)
class Shortcuts(PlainConfig):
    """What later blocks see of the first ones, and the network's initial state."""

    value_residual: bool = setting(False, "each block's values are mixed with the first block's, in learnt shares")
    embedding_shortcut: bool = setting(
        False, "each later block's input has a learnt share of the embedding added to it"
    )
    embedding_norm: bool = setting(False, "the embedding is normalised before the first block")
    zero_init: bool = setting(False, "projections back into the residual stream are zero at first")

    def layer(self, index: int) -> Layer:
        """Return a block's layer."""
        values = ("mixed" if index else "first") if self.value_residual else "own"
        return replace(super().layer(index), values=values, shortcut=self.embedding_shortcut and index > 0)
