"""QK-Clip: query and key weights shrink where attention's scores have grown beyond a limit; with Muon, MuonClip.

Kimi K2 (arXiv:2507.20534, section 2.1): after each step every head whose largest score S of that step's batch was above
the limit τ has its queries and keys scaled by √(τ / S) each, so that its scores are scaled by τ / S.
"""

import torch

from model.effects import require_clippable
from model.network.mixers.scores import ScoredAttention
from model.network.transformer import Transformer


class QKClip:
    """Watches the largest score of each head while a batch's gradients are made; `step` clips and begins anew.

    Nothing in it waits for the device, so that it can be captured. Between steps there is nothing to remember.
    """

    def __init__(self, network: Transformer, limit: float) -> None:
        require_clippable(network.config, limit)
        self._limit = limit
        self._attentions = [m for m in network.modules() if isinstance(m, ScoredAttention)]
        for attention in self._attentions:
            attention.watch_scores()

    @torch.no_grad()
    def step(self) -> None:
        """Scale the weights of heads whose scores were too large."""
        for attention in self._attentions:
            if attention.largest is not None:
                attention.scale_scores((self._limit / attention.largest).clamp_(max=1.0))
        self.reset()

    def reset(self) -> None:
        """Forget the scores seen, in place."""
        for attention in self._attentions:
            if attention.largest is not None:
                attention.largest.zero_()
