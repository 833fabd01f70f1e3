"""The plain linear layer: one matrix."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.counts import Counts
from model.network.shapes import Float


class Dense(nn.Linear):
    """x ↦ W x; `std` is the initial weights' standard deviation."""

    product: Callable[[Tensor, Tensor], Tensor] = staticmethod(F.linear)
    """How x and W are multiplied: as torch does, or otherwise while training."""

    def __init__(self, config: ModelConfig, n_in: int, n_out: int, std: float) -> None:
        super().__init__(n_in, n_out, bias=False)
        self.std = std

    def forward(self, x: Float[Tensor, "*rest N"]) -> Float[Tensor, "*rest M"]:
        """Return W x."""
        return self.product(x, self.weight)

    def draw(self, generator: torch.Generator | None) -> None:
        """Draw the initial weights."""
        nn.init.normal_(self.weight, std=self.std, generator=generator)

    @staticmethod
    def counts(config: ModelConfig, n_in: int, n_out: int) -> Counts:
        """Return parameters and operations by closed form."""
        return Counts(n_in * n_out, n_in * n_out)
