"""RMSNorm with gains for each of several tracks.

Shapes: N tracks, B sequences, those of the first track first, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.shapes import Float


class TrackNorm(nn.RMSNorm):
    """x ÷ its root mean square, times gains of its track; a vector, so that no optimizer takes them for a matrix."""

    def __init__(self, tracks: int, width: int) -> None:
        super().__init__(width)
        self.tracks = tracks
        self.weight = nn.Parameter(torch.ones(tracks * width))

    def forward(self, x: Float[Tensor, "NB *rest W"]) -> Float[Tensor, "NB *rest W"]:
        """Return the normalised rows."""
        normed = torch.unflatten(F.rms_norm(x, self.normalized_shape), 0, (self.tracks, -1))
        gains = self.weight.view(self.tracks, *(1 for _ in x.shape[:-1]), -1)
        return (normed * gains).flatten(0, 1)
