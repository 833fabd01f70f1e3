"""Parallel tracks, one after the other: each a narrow network, all of them averaged after every few blocks."""

import torch
from torch import Tensor

from model.network.transformer import Transformer
from tests.model.network.case import Case
from tests.model.network.ideas.interleaving import Interleaved
from tests.model.network.ideas.shortcuts import Short


class Tracked(Short):
    def __init__(self, net: Transformer) -> None:
        super().__init__(net)
        self.track, self.firsts = 0, dict[int, Tensor]()
        for i in range(self.c.n_layer):
            begin = f"blocks.{i}."
            for name, w in [(n, w) for n, w in self.w.items() if n.startswith(begin)]:
                for track in range(self.c.tracks):
                    gains = name.endswith("norm.weight")
                    own = w[track] if w.ndim == 3 else w.chunk(self.c.tracks)[track] if gains else w
                    self.w[f"{begin}{track}.{name.removeprefix(begin)}"] = own

    def block(self, x: Tensor, p: str, index: int | None) -> Tensor:
        if index is None:
            return super().block(x, p, index)
        streams = list(x) if index % self.c.track_blocks else [x] * self.c.tracks
        for self.track, stream in enumerate(streams):
            if self.track in self.firsts:
                self.first = self.firsts[self.track]
            streams[self.track] = super().block(stream, f"{p}{self.track}.", index)
            if self.c.value_residual and index == 0:
                self.firsts[self.track] = self.first
        averaged = (index + 1) % self.c.track_blocks == 0 or index + 1 == self.c.n_layer
        return sum(streams, torch.zeros_like(streams[0])) / len(streams) if averaged else torch.stack(streams)

    def query_width(self, index: int | None) -> int:
        return self.c.d_model // (1 if index is None else self.c.tracks)

    def head_number(self, h: int, index: int | None) -> int:
        return h if index is None else self.track * self.c.n_head // self.c.tracks + h


class InTurn(Tracked, Interleaved):
    """Tracks with local and global blocks in turn."""


CASES = {
    "two tracks": Case(options={"tracks": 2, "track_blocks": 2, "n_layer": 3}, reference=Tracked),
    "four tracks, grouped, in turn local and global, swiglu, normalised, a further head": Case(
        options={
            "tracks": 4,
            "track_blocks": 1,
            "attention": "grouped",
            "n_kv_head": 4,
            "window": 5,
            "global_every": 2,
            "mlp": "swiglu",
            "mlp_ratio": 6.0,
            "qk_norm": True,
            "mtp_heads": 1,
        },
        reference=InTurn,
    ),
    "tracks, alibi, grouped, value residuals, embedding shortcuts": Case(
        options={
            "tracks": 2,
            "track_blocks": 3,
            "n_layer": 4,
            "attention": "grouped",
            "n_kv_head": 2,
            "positions": "alibi",
            "value_residual": True,
            "embedding_shortcut": True,
        },
        reference=Tracked,
    ),
}
