"""MLPs of parallel tracks: each maps a stream of its own through its share of the hidden width.

Shapes: C = N · B sequences, the first track's first, T tokens of each, D = d_model.
"""

from torch import Tensor

from model.config import ModelConfig
from model.network.counts import Counts
from model.network.linears import initial_std
from model.network.linears.stack import TrackStack
from model.network.mlps.dense import DENSE
from model.network.part import Part, Shared, Where
from model.network.shapes import Float
from model.options.layer import Layer


class TrackMLP(Part):
    """N MLPs of one kind side by side."""

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__(config, layer)
        n, d, width, kind = config.n_tracks, config.d_model, config.track_width, DENSE[config.mlp]
        self.hidden = kind.hidden
        self.up = TrackStack(n, d, kind.ups * width, initial_std(config, "mlp.up"))
        self.down = TrackStack(n, width, d, initial_std(config, "mlp.down"))

    def forward(self, x: Float[Tensor, "C T D"], where: Where, shared: Shared) -> tuple[Float[Tensor, "C T D"], Shared]:
        """Return the map of each position of each track."""
        return self.down(self.hidden(self.up(x))), shared

    @staticmethod
    def counts(config: ModelConfig, layer: Layer) -> Counts:
        """Return parameters and operations by closed form."""
        matrices = (DENSE[config.mlp].ups + 1) * config.n_tracks * config.track_width * config.d_model
        return Counts(matrices, matrices)
