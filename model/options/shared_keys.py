"""Settings of keys and values that several blocks share."""

from dataclasses import dataclass, replace

from model.options.layer import Layer
from model.options.plain import PlainConfig
from model.settings import setting


@dataclass(frozen=True, kw_only=True)
class SharedKeys(PlainConfig):
    """How many consecutive blocks use one set of keys and values."""

    kv_blocks: int = setting(
        1, "consecutive blocks that share the keys and values of their first; 1: each has its own", at_least=1
    )

    def layer(self, index: int) -> Layer:
        """Return a block's layer; within a group all but the first borrow (CLA, arXiv:2405.12981)."""
        layer = super().layer(index)
        place = index % self.kv_blocks
        lends = place < self.kv_blocks - 1 and index < self.n_layer - 1
        return replace(layer, mixer="borrowed" if place else layer.mixer, lends=lends)
