"""A stack of matrices, each for rows of its own: the layers of experts and of tracks.

Shapes: E matrices, N rows for each, I and O their widths.
"""

import torch
from torch import Tensor, nn

from model.network.shapes import Float


class Stack(nn.Module):
    """x ↦ W x with another W for each group of rows; one product for all. `std` is the initial weights' deviation."""

    def __init__(self, number: int, n_in: int, n_out: int, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(number, n_out, n_in))
        self.std = std

    def forward(self, x: Float[Tensor, "E N I"]) -> Float[Tensor, "E N O"]:
        """Return each group's rows under its matrix."""
        return torch.bmm(x, self.weight.mT)

    def draw(self, generator: torch.Generator | None) -> None:
        """Draw the initial weights."""
        nn.init.normal_(self.weight, std=self.std, generator=generator)


class TrackStack(Stack):
    """The same for tokens of E times as many sequences, those of the first matrix first."""

    def forward(self, x: Float[Tensor, "EB T I"]) -> Float[Tensor, "EB T O"]:
        """Return each sequence under its matrix."""
        rows = super().forward(torch.unflatten(x, 0, (len(self.weight), -1)).flatten(1, 2))
        return rows.view(*x.shape[:-1], -1)
