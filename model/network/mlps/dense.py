"""MLPs of two or three matrices: GELU, squared ReLU, SwiGLU.

Shapes: B sequences, T tokens of each, D = d_model, F hidden width.
"""

import torch.nn.functional as F
from torch import Tensor

from model.config import ModelConfig
from model.network.counts import Counts
from model.network.linears import linear, linear_counts
from model.network.part import Part, Shared, Where
from model.network.shapes import Float
from model.options.layer import Layer


class MLP(Part):
    """Each position by itself, through one hidden layer of GELUs."""

    ups = 1
    """Times the hidden width that `up` makes."""

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__(config, layer)
        self.up = linear(config, "mlp.up", config.d_model, self.ups * config.hidden_width)
        self.down = linear(config, "mlp.down", config.hidden_width, config.d_model)

    def forward(self, x: Float[Tensor, "B T D"], where: Where, shared: Shared) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return the map of each position."""
        return self.down(self.hidden(self.up(x))), shared

    @staticmethod
    def hidden(up: Float[Tensor, "B T _"]) -> Float[Tensor, "B T F"]:
        """Return the hidden layer."""
        return F.gelu(up, approximate="tanh")

    @classmethod
    def counts(cls, config: ModelConfig, layer: Layer) -> Counts:
        """Return parameters and operations by closed form."""
        return Counts.of(
            linear_counts(config, "mlp.up", config.d_model, cls.ups * config.hidden_width),
            linear_counts(config, "mlp.down", config.hidden_width, config.d_model),
        )


class SquaredReLU(MLP):
    """The same with max(0, x)² (Primer, arXiv:2109.08668)."""

    @staticmethod
    def hidden(up: Float[Tensor, "B T _"]) -> Float[Tensor, "B T F"]:
        """Return the hidden layer."""
        return F.relu(up).square()


class SwiGLU(MLP):
    """The same with a gate for each hidden unit, silu(g) · x (arXiv:2002.05202)."""

    ups = 2

    @staticmethod
    def hidden(up: Float[Tensor, "B T _"]) -> Float[Tensor, "B T F"]:
        """Return the hidden layer."""
        gate, value = up.chunk(2, dim=-1)
        return F.silu(gate) * value


DENSE: dict[str, type[MLP]] = {"gelu": MLP, "relu2": SquaredReLU, "swiglu": SwiGLU}
"""MLPs by the name of their nonlinearity in `[model]`."""
