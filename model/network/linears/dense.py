"""The plain linear layer: one matrix."""

import torch
from torch import nn

from model.config import ModelConfig
from model.network.counts import Counts


class Dense(nn.Linear):
    """x ↦ W x; `std` is the initial weights' standard deviation."""

    def __init__(self, config: ModelConfig, n_in: int, n_out: int, std: float) -> None:
        super().__init__(n_in, n_out, bias=False)
        self.std = std

    def draw(self, generator: torch.Generator | None) -> None:
        """Draw the initial weights."""
        nn.init.normal_(self.weight, std=self.std, generator=generator)

    @staticmethod
    def counts(config: ModelConfig, n_in: int, n_out: int) -> Counts:
        """Return parameters and operations by closed form."""
        return Counts(n_in * n_out, n_in * n_out)
