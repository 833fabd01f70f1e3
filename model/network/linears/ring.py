"""A linear layer whose matrix is a ring of three small tensors: a matrix product operator with its ends joined.

Tensor rings are Zhao et al.'s (2016, arXiv:1606.05535); layers made of a train of such tensors Novikov et al.'s (2015,
arXiv:1509.06569). Shapes: R bond dimension; Iₖ and Oₖ the factors of both widths, n_in = I₁I₂I₃ and n_out = O₁O₂O₃.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.counts import Counts
from model.network.shapes import Float

CORES = 3
"""Tensors of a ring: the fewest with which it is one; of two, both bonds together are a single bond of R²."""
USUAL_STD = 0.02
"""Standard deviation that the matrix would have, of a ring that begins as zero."""


class Ring(nn.Module):
    """x ↦ W x with W[o₁o₂o₃, i₁i₂i₃] = tr(G₁[i₁, o₁] G₂[i₂, o₂] G₃[i₃, o₃]), each G[i, o] an R × R matrix.

    W is contracted once for all tokens of a pass, always along the same path; through the tensors one by one each token
    would cost R²/I₁ + R²/O₃ times the dense product and more, which is worth it at no bond that learns. `std` is the
    standard deviation that W's entries have at first: exactly so at every bond, while they are far from normal and far
    from independent at a small one and tend to a dense layer's as R grows.
    """

    def __init__(self, config: ModelConfig, n_in: int, n_out: int, std: float) -> None:
        super().__init__()
        self.std = std
        self.cores = nn.ParameterList(
            nn.Parameter(torch.empty(config.bond, i, o, config.bond)) for i, o in paired_factors(n_in, n_out)
        )

    def draw(self, generator: torch.Generator | None) -> None:
        """Draw the tensors: R³ products of three entries add up: W has R³ times their variance cubed."""
        each = (self.std or USUAL_STD) ** (1 / CORES) / math.sqrt(len(self.cores[0]))
        for core in self.cores:
            nn.init.normal_(core, std=each, generator=generator)
        if not self.std:  # one of zeros is enough; of two neither would ever get a gradient
            nn.init.zeros_(self.cores[-1])

    def forward(self, x: Float[Tensor, "... N"]) -> Float[Tensor, "... M"]:
        """Return W x."""
        return F.linear(x, self.matrix())

    def matrix(self) -> Float[Tensor, "M N"]:
        """Return W, by R³ · I₁O₁I₂O₂ + R² · n_in · n_out multiplications."""
        first, second, third = self.cores
        (bond, i, o, _), (_, j, p, _), (_, k, q, _) = first.shape, second.shape, third.shape
        pair = first.flatten(0, 2) @ second.flatten(1)  # (R I₁ O₁, I₂ O₂ R): the bond between the first two is gone
        opened = pair.view(bond, -1, bond).permute(1, 2, 0).flatten(1)  # (I₁ O₁ I₂ O₂, R R)
        closed = opened @ third.permute(0, 3, 1, 2).flatten(2).flatten(0, 1)  # (I₁ O₁ I₂ O₂, I₃ O₃): both others, too
        matrix: Tensor = closed.view(i, o, j, p, k, q).permute(1, 3, 5, 0, 2, 4).reshape(o * p * q, i * j * k)
        return matrix

    @staticmethod
    def counts(config: ModelConfig, n_in: int, n_out: int) -> Counts:
        """Return parameters, R² · Σ IₖOₖ, and the operations of W x; W's own are for all tokens of a pass together."""
        return Counts(config.bond**2 * sum(i * o for i, o in paired_factors(n_in, n_out)), n_in * n_out)


def paired_factors(n_in: int, n_out: int) -> list[tuple[int, int]]:
    """Return (Iₖ, Oₖ) of each tensor: small factors beside large ones, so that the tensors are of one size."""
    return list(zip(factors(n_in), reversed(factors(n_out)), strict=True))


def factors(width: int) -> tuple[int, int, int]:
    """Return three whole factors of a width, ascending, with the smallest sum: the nearest to one another."""
    found = [
        (a, b, width // (a * b))
        for a in range(1, round(width ** (1 / 3)) + 1)
        if width % a == 0
        for b in range(a, math.isqrt(width // a) + 1)
        if width // a % b == 0
    ]
    return min(found, key=sum)
