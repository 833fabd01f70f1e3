"""Settings of parallel tracks: narrow networks side by side that exchange what they know every few blocks."""

from dataclasses import dataclass, replace

from model.errors import SettingsError
from model.options.layer import Layer
from model.options.plain import PlainConfig
from model.settings import setting

MIXERS, MLPS = ("full", "grouped"), ("gelu", "relu2", "swiglu")
"""Parts that there are for several tracks."""
PLACES = ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
"""Linear layers of those parts."""


@dataclass(frozen=True, kw_only=True)
class Tracks(PlainConfig):
    """How many tracks share the heads and the MLP's width, and how long each goes on alone."""

    tracks: int = setting(
        1,
        "narrow networks side by side, which share heads and the MLP's width: n_head's largest divisor up to this",
        at_least=1,
        at_most=128,
    )
    track_blocks: int = setting(
        4,
        "consecutive blocks that tracks go through alone; after them, and after the last, they are averaged",
        at_least=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_tracks == 1:
            return
        tested = all(_tested(super(Tracks, self).layer(index)) for index in range(self.n_layer))
        if not tested or any(self.linear_kind(place) != "dense" for place in PLACES):
            raise SettingsError(
                f"`tracks` is {self.tracks}, but must be 1 beside experts, depth_capacity, blocks that share keys, "
                "latent attention, mixers other than attention, and linear layers other than dense ones: tracks were "
                "not tried with them"
            )

    @property
    def n_tracks(self) -> int:
        """Tracks that there are: as many heads in each."""
        return max(n for n in range(1, self.n_head + 1) if self.n_head % n == 0 and n <= self.tracks)

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values: as many in each track, one at least."""
        if self.attention != "grouped":
            return super().kv_heads
        most, heads = max(1, self.n_kv_head // self.n_tracks), self.n_head // self.n_tracks
        return self.n_tracks * max(n for n in range(1, heads + 1) if heads % n == 0 and n <= most)

    @property
    def track_width(self) -> int:
        """Hidden width of one track's MLP, a multiple of 16: those of all together have the MLP's."""
        return max(16, round(self.hidden_width / self.n_tracks / 16) * 16)

    def layer(self, index: int) -> Layer:
        """Return a block's layer (Apple 2025, arXiv:2507.13575; Wang et al. 2026, arXiv:2602.07306)."""
        layer, place = super().layer(index), index % self.track_blocks
        if self.n_tracks == 1:
            return layer
        joins = place == self.track_blocks - 1 or index == self.n_layer - 1
        return replace(layer, block="tracks", mixer="tracks", mlp="tracks", splits=place == 0, joins=joins)


def _tested(layer: Layer) -> bool:
    """Return whether tracks can be made of a block."""
    return layer.block == "block" and layer.mixer in MIXERS and layer.mlp in MLPS and not layer.lends
