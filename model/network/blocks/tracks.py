"""A block of parallel tracks: narrow transformers side by side (Apple 2025, arXiv:2507.13575).

Shapes: B sequences, T tokens of each, D = d_model, N tracks, C sequences of the stream: B where all tracks have one
stream, N · B where each has its own, the first track's sequences first.
"""

import torch
from torch import Tensor

from model.config import ModelConfig
from model.network.blocks.residual import Block
from model.network.counts import Counts, vectors
from model.network.mixers import MIXERS
from model.network.mlps import MLPS
from model.network.part import EMBEDDING, Shared, Where
from model.network.shapes import Float
from model.network.track_norm import TrackNorm
from model.options.layer import Layer


class TracksBlock(Block):
    """A block for each track, all at once; between two averages no track sees what another one adds.

    Each has a stream of the full width, and its share of the heads and of the MLP's hidden width: parameters and
    operations are a plain block's, but for the norms, of which each track has its own. The first block of a group gives
    every track the stream, the last one goes on with the mean of theirs, as in Apple's own code (tamm).
    """

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__(config, layer)
        self.n_tracks, self.splits, self.joins = config.n_tracks, layer.splits, layer.joins
        for name in (f"{self._mixer_name}_norm", "mlp_norm"):
            self.add_module(name, TrackNorm(self.n_tracks, config.d_model))

    def forward(self, x: Float[Tensor, "C T D"], where: Where, shared: Shared) -> tuple[Float[Tensor, "_ T D"], Shared]:
        """Return the stream after this block, or the streams of all tracks."""
        x, shared = super().forward(self._split(x), where, shared)
        return self._joined(x), shared

    def step(
        self, x: Float[Tensor, "C T D"], state: tuple[object, object], where: Where, shared: Shared
    ) -> tuple[Float[Tensor, "_ T D"], Shared]:
        """Return what `forward` does for the tokens that follow those in `state`, and add them to it."""
        x, shared = super().step(self._split(x), state, where, shared)
        return self._joined(x), shared

    def _split(self, x: Tensor) -> Tensor:
        return x.expand(self.n_tracks, *x.shape).flatten(0, 1) if self.splits else x

    def _joined(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, 0, (self.n_tracks, -1)).mean(dim=0) if self.joins else x

    def _with_embedding(self, x: Tensor, shared: Shared) -> Tensor:
        """Return each track's input, a share of the embedding added."""
        if self.shortcut is None:
            return x
        added = self.shortcut.to(x.dtype) * shared[EMBEDDING]
        return (torch.unflatten(x, 0, (self.n_tracks, -1)) + added).flatten(0, 1)

    @staticmethod
    def counts(config: ModelConfig, layer: Layer) -> Counts:
        """Return parameters and operations: those of both parts, and two norms of each track."""
        parts = (MIXERS[layer.mixer], MLPS[layer.mlp])
        beside = vectors(2 * config.n_tracks * config.d_model + layer.shortcut)
        return Counts.of(*(part.counts(config, layer) for part in parts), beside)
