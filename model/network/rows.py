"""Rows of a matrix moved to other places, as many as there are whatever the places: tokens to experts, and back.

Shapes: N rows of D, M places, K places of each row.
"""

from typing import Any

import torch
from torch import Tensor

from model.network.shapes import Float, Int


class _Moved(torch.autograd.Function):
    """Rows copied to other places; gradients are copied back by the inverse, with no atomic addition in any order."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sources: Tensor, targets: Tensor) -> Tensor:
        ctx.save_for_backward(targets)
        return _taken(rows, sources)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (targets,) = ctx.saved_tensors
        return _taken(gradient, targets).sum(dim=1), None, None


def moved(rows: Float[Tensor, "N D"], sources: Int[Tensor, "M"], targets: Int[Tensor, "N K"]) -> Float[Tensor, "M D"]:
    """Return row `sources[m]` at each m, zeros where that is −1; `targets` are all places that a row goes to."""
    result: Tensor = _Moved.apply(rows, sources, targets)  # type: ignore[no-untyped-call]
    return result


def _taken(rows: Tensor, index: Tensor) -> Tensor:
    taken = rows.index_select(0, index.flatten().clamp(min=0)).view(*index.shape, rows.shape[-1])
    return torch.where(index[..., None] >= 0, taken, 0)
