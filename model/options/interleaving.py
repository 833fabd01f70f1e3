"""Settings of local and global attention in turn."""

from dataclasses import dataclass, replace

from model.errors import SettingsError
from model.options.layer import Layer
from model.options.plain import PlainConfig
from model.settings import setting


@dataclass(frozen=True, kw_only=True)
class Interleaving(PlainConfig):
    """Which blocks look at the whole context, the others through `window`."""

    global_every: int = setting(
        0, "every so many blocks the last looks at the whole context, the others through window; 0: none", at_least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.global_every and not self.window:
            raise SettingsError(
                f"`global_every` is {self.global_every}, but must be 0 where window is 0: every block looks at the "
                "whole context; give the others a window"
            )

    def layer(self, index: int) -> Layer:
        """Return a block's layer; the first of each group are local (Gemma 3, arXiv:2503.19786)."""
        layer = super().layer(index)
        is_global = self.global_every and index % self.global_every == self.global_every - 1
        return replace(layer, window=0) if is_global else layer
