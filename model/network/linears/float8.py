"""Products of a linear layer in floating point of eight bits, forward and backward.

Numbers are e4m3 forward and gradients e5m2, as Micikevicius et al. 2022 (arXiv:2209.05433) recommend, with one scale
for each tensor, from its own largest size. Shapes: M tokens, N and O the layer's widths.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.network.shapes import Float

NUMBERS, GRADIENTS = torch.float8_e4m3fn, torch.float8_e5m2
"""Formats of inputs and weights, and of gradients: three bits of mantissa or two, up to 448 or 57,344."""
RESULTS = torch.bfloat16
"""Format of products, and of what is rounded to eight bits."""
MULTIPLE = 16
"""What every side of a product must be a multiple of (cuBLASLt's rule)."""
LEAST_SIZE = 1e-30
"""Smallest size that is scaled by: a tensor of zeros stays one."""


def float8_linear(x: Float[Tensor, "*rest N"], weight: Float[Tensor, "O N"]) -> Float[Tensor, "*rest O"]:
    """Return x Wᵀ in bfloat16, its factors and those of its gradients rounded to eight bits.

    Where nothing is learned, as in an evaluation, it is the plain product. N and O must be multiples of 16; tokens
    need not be: rows of zeros fill them up.
    """
    if not torch.is_grad_enabled():
        return F.linear(x, weight)
    rows = x.flatten(0, -2).to(RESULTS)
    filled = F.pad(rows, (0, 0, 0, -len(rows) % MULTIPLE))
    with torch.autocast(x.device.type, enabled=False):  # in it a CPU's product rounds its scaled factors to bfloat16
        y: Tensor = _Product.apply(filled, weight.to(RESULTS))  # type: ignore[no-untyped-call]
    return y[: len(rows)].view(*x.shape[:-1], -1)


class _Product(torch.autograd.Function):
    """x Wᵀ, and its two gradients, all of them bfloat16; what is kept for these is kept in eight bits."""

    @staticmethod
    def forward(ctx: Any, x: Float[Tensor, "M N"], weight: Float[Tensor, "O N"]) -> Float[Tensor, "M O"]:
        x8, x_scale = scaled(x, NUMBERS)
        weight8, weight_scale = scaled(weight, NUMBERS)
        ctx.save_for_backward(x8, x_scale, weight8, weight_scale)
        return _multiplied(x8, weight8.t(), x_scale, weight_scale, fast=True)

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "M O"]) -> Any:
        x8, x_scale, weight8, weight_scale = ctx.saved_tensors
        gradient8, scale = scaled(gradient, GRADIENTS)
        by_x = _multiplied(gradient8, _by_column(weight8), scale, weight_scale)
        by_weight = _multiplied(gradient8.t().contiguous(), _by_column(x8), scale, x_scale)
        return by_x, by_weight


def scaled(x: Tensor, kind: torch.dtype) -> tuple[Tensor, Float[Tensor, ""]]:
    """Return x ÷ s in a format of eight bits, and s, with which its largest size is the format's largest number."""
    largest = torch.finfo(kind).max
    scale = x.abs().amax().float().clamp(min=LEAST_SIZE) / largest
    return (x.float() / scale).clamp(-largest, largest).to(kind), scale


def _by_column(matrix: Tensor) -> Tensor:
    """Return the matrix stored column by column: the only order of a second factor that there is a kernel for."""
    return matrix.t().contiguous().t()


def _multiplied(a: Tensor, b: Tensor, a_scale: Tensor, b_scale: Tensor, *, fast: bool = False) -> Tensor:
    """Return a · b times both scales in bfloat16; `fast` sums in fewer bits, which forward passes allow."""
    return torch._scaled_mm(a, b, scale_a=a_scale, scale_b=b_scale, out_dtype=RESULTS, use_fast_accum=fast)
