"""What maps each position by itself: each kind is a file here, or a class in one, and a line of `MLPS`."""

from model.network.mlps.dense import MLP, SquaredReLU, SwiGLU
from model.network.part import Part

MLPS: dict[str, type[Part]] = {"gelu": MLP, "relu2": SquaredReLU, "swiglu": SwiGLU}
"""MLPs by the name that a block's layer gives."""
