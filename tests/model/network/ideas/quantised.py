"""Ternary and two-bit linear layers, number by number; straight-through gradients are no part of a forward pass."""

import math

import torch
from torch import Tensor

from model.network.transformer import Transformer
from tests.model.network.case import Case
from tests.model.network.reference import Reference

ROUNDING_FLIPS = 0.1
"""How far logits of size 1 may lie from float64's. Nearly always it is 1e-5; where float32 rounds an input between two
steps the other way it is up to 0.05. Single layers are held to more in test_quantised.py. A
narrow stream's own rounding is of the size of these steps, too."""


class Quantised(Reference):
    def __init__(self, net: Transformer) -> None:
        super().__init__(net)
        self.kinds = {name: module for name, module in net.named_modules() if not list(module.children())}

    def linear(self, x: Tensor, name: str) -> Tensor:
        kind = type(self.kinds[name]).__name__
        if kind not in ("Ternary", "TwoBit"):
            return super().linear(x, name)
        weight = quantised_weight(self.w[name + ".weight"], self.w.get(name + ".stretch"))
        return eight_bits(x) @ weight.T


def quantised_weight(weight: Tensor, stretch: Tensor | None) -> Tensor:
    """Return ternary weights, of two bits where there is a factor of their scale."""
    scale = float(weight.abs().mean()) * (1.0 if stretch is None else float(stretch))
    levels = (-1.0, 0.0, 1.0) if stretch is None else (-1.5, -0.5, 0.5, 1.5)
    nearest = [min(levels, key=lambda level: abs(w / scale - level)) * scale for w in weight.flatten().tolist()]
    return torch.tensor(nearest, dtype=torch.float64).view_as(weight)


def eight_bits(x: Tensor) -> Tensor:
    """Return each token (T, N), normalised, in steps of its largest size ÷ 127."""
    rows = []
    for row in x.tolist():
        norm = math.sqrt(sum(value * value for value in row) / len(row) + torch.finfo(torch.float32).eps)
        step = max(abs(value) for value in row) / norm / 127
        rows.append([round(value / norm / step) * step for value in row])
    return torch.tensor(rows, dtype=torch.float64)


CASES = {
    "ternary": Case(options={"linear": "ternary"}, reference=Quantised, tolerance=ROUNDING_FLIPS, narrow=0.04),
    "ternary in MLPs, latent": Case(
        options={"linear": "ternary", "linear_in": "mlp", "attention": "latent", "projection_dim": 13, "mtp_heads": 1},
        reference=Quantised,
        tolerance=ROUNDING_FLIPS,
        narrow=0.04,
    ),
    "two bits, grouped, swiglu": Case(
        options={"linear": "two_bit", "attention": "grouped", "n_kv_head": 2, "mlp": "swiglu"},
        reference=Quantised,
        tolerance=ROUNDING_FLIPS,
        narrow=0.04,
    ),
}
