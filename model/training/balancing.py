"""An even load of experts by a bias on their scores, without a loss (Wang et al. 2024, arXiv:2408.15664).

After each step an expert that more tokens chose than the mean has its bias lowered by the rate, others raised: inside
the captured step, since nothing in it waits for the device.
"""

import torch
from torch import Tensor

from model.network.mlps.experts import Experts
from model.network.transformer import Transformer


class Balancing:
    """Moves the experts' biases by the load of a step's batch; `take_dropped_share` says what found no room."""

    def __init__(self, network: Transformer) -> None:
        self._rate = network.config.expert_bias_rate
        self._mixtures = [m for m in network.modules() if isinstance(m, Experts)]

    @torch.no_grad()
    def step(self) -> None:
        """Move the biases, and begin to count anew."""
        for experts in self._mixtures:
            load = experts.load.float()
            experts.bias.add_(torch.sign(load.mean() - load), alpha=self._rate)
            experts.load.zero_()

    def take_dropped_share(self) -> float | None:
        """Return the share of choices dropped since this was last asked; None without any. Waits for the device."""
        if not self._mixtures:
            return None
        choices, dropped = torch.stack(self.tallies()).sum(dim=0).tolist()
        for tally in self.tallies():
            tally.zero_()
        return dropped / choices if choices else None

    def tallies(self) -> list[Tensor]:
        """Return what is remembered between steps: choices and dropped ones of each block."""
        return [experts.tally for experts in self._mixtures]

    def reset(self) -> None:
        """Forget every count, in place."""
        for experts in self._mixtures:
            experts.load.zero_()
            experts.tally.zero_()
