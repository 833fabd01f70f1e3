"""A mixture of experts as DeepSeek-V3 describes it, token after token and expert after expert."""

import torch
from torch import Tensor

from model.config import ModelConfig
from tests.model.network.case import Case, counted_too
from tests.model.network.reference import Reference


class Mixed(Reference):
    def mlp(self, x: Tensor, p: str) -> Tensor:
        if p.startswith("mtp."):
            return super().mlp(x, p)
        c, taken = self.c, [0] * self.c.experts
        rows = []
        for token in x:
            scores = 1 / (1 + torch.exp(-(self.w[p + "router.weight"] @ token)))
            ranked = sorted(range(c.experts), key=lambda e: float(scores[e] + self.w[p + "bias"][e]), reverse=True)
            chosen = ranked[: c.experts_per_token]
            total = sum(scores[e] for e in chosen) if len(chosen) > 1 else 1.0
            y = torch.zeros_like(token)
            for e in chosen:
                taken[e] += 1
                if taken[e] <= c.expert_room:
                    up, down = self.w[p + "up.weight"][e], self.w[p + "down.weight"][e]
                    y = y + scores[e] / total * (down @ self.hidden(up @ token))
            if c.shared_experts:
                y = y + self.w[p + "shared_down.weight"] @ self.hidden(self.w[p + "shared_up.weight"] @ token)
            rows.append(y)
        return torch.stack(rows)


def empty_slots_too(config: ModelConfig) -> float:
    """Return what torch counts beside: products of the slots that an expert holds ready, beyond the choices made."""
    expert = (3 if config.mlp == "swiglu" else 2) * config.d_model * config.expert_width
    slots = config.experts * config.expert_room / config.context
    return counted_too(config) + config.n_layer * 2 * expert * (slots - config.experts_per_token)


CASES = {
    "experts": Case(options={"experts": 4, "expert_capacity": 1.0}, reference=Mixed, counted_too=empty_slots_too),
    "one expert of three, shared ones, swiglu, balanced by a loss, a further head": Case(
        options={
            "experts": 3,
            "experts_per_token": 1,
            "shared_experts": 2,
            "expert_bias_rate": 0.01,
            "expert_balance_loss": 0.01,
            "mlp": "swiglu",
            "mtp_heads": 1,
        },
        reference=Mixed,
        counted_too=empty_slots_too,
    ),
}
