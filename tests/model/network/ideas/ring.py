"""Tensor rings: each matrix entry is a trace of three small matrices."""

import torch
from torch import Tensor

from model.config import ModelConfig
from model.network.transformer import Transformer
from tests.model.network.case import VOCAB, Case, counted_too
from tests.model.network.reference import Reference


def dense_matrix(first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """Return the matrix of three tensors (R, I, O, R), pair of places by pair of places."""
    (_, i, o, _), (_, j, p, _), (_, k, q, _) = first.shape, second.shape, third.shape
    matrix = torch.zeros(o * p * q, i * j * k, dtype=first.dtype)
    for a in range(i):
        for b in range(o):
            for c in range(j):
                for d in range(p):
                    product = first[:, a, b] @ second[:, c, d]
                    for e in range(k):
                        for f in range(q):
                            row, column = (b * p + d) * q + f, (a * j + c) * k + e
                            matrix[row, column] = (product * third[:, e, f].T).sum()
    return matrix


class Rings(Reference):
    def __init__(self, net: Transformer) -> None:
        super().__init__(net)
        rings = [name.removesuffix(".cores.0") for name in self.w if name.endswith(".cores.0")]
        for name in rings:
            self.w[name + ".weight"] = dense_matrix(*(self.w[f"{name}.cores.{place}"] for place in range(3)))


def contractions_counted(config: ModelConfig) -> float:
    """torch counts each matrix's contraction, one for the 96 tokens of the check."""
    products = 0
    for name, core in Transformer(config, VOCAB).named_parameters():
        if name.endswith("cores.0"):
            r, i, o, _ = core.shape
            first_pair = i * o
        elif name.endswith("cores.1"):
            two_pairs = first_pair * core.shape[1] * core.shape[2]
        elif name.endswith("cores.2"):
            products += r**3 * two_pairs + r**2 * two_pairs * core.shape[1] * core.shape[2]
    return counted_too(config) + 2 * products / 96


CASES = {
    "rings": Case(options={"linear": "ring", "bond": 3}, reference=Rings, counted_too=contractions_counted),
    "rings in attention, latent, zero at first": Case(
        options={
            "linear": "ring",
            "linear_in": "attention",
            "bond": 2,
            "attention": "latent",
            "projection_dim": 12,
            "zero_init": True,
            "mtp_heads": 1,
        },
        reference=Rings,
        counted_too=contractions_counted,
    ),
    "rings in MLPs": Case(
        options={"linear": "ring", "linear_in": "mlp", "bond": 4, "mlp": "swiglu"},
        reference=Rings,
        counted_too=contractions_counted,
    ),
}
