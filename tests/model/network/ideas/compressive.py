"""Infini-attention, a token and a head at a time, from its paper (arXiv:2404.07143)."""

import math

import torch
from torch import Tensor

from model.config import ModelConfig
from model.network.counts import attended
from tests.model.network.case import Case
from tests.model.network.ideas.shortcuts import Short


def sigma(x: Tensor) -> Tensor:
    return torch.where(x > 0, x + 1, x.exp())


class Infini(Short):
    def mixer(self, x: Tensor, p: str, index: int | None) -> Tensor:
        if index is None:
            return super().mixer(x, p, index)
        c = self.c
        q, k, v = self.heads(x, p, index)
        y = torch.zeros(len(x), c.n_head, c.head_dim, dtype=torch.float64)
        for h in range(c.n_head):
            g, gate = h // (c.n_head // k.shape[1]), torch.sigmoid(self.w[p + "gate"][h])
            for t in range(len(x)):
                begin = t // c.segment * c.segment
                scores = [self.turn(q[t, h], t) @ self.turn(k[s, g], s) for s in range(begin, t + 1)]
                weights = (torch.stack(scores) / math.sqrt(c.head_dim)).exp()
                y[t, h] = (1 - gate) * (weights / weights.sum()) @ v[begin : t + 1, g]
                memory, norm = torch.zeros(c.head_dim, c.head_dim, dtype=torch.float64), torch.zeros_like(q[t, h])
                for s in range(begin):
                    memory, norm = memory + torch.outer(sigma(k[s, g]), v[s, g]), norm + sigma(k[s, g])
                if begin:
                    y[t, h] += gate * (sigma(q[t, h]) @ memory) / (sigma(q[t, h]) @ norm)
        return self.linear(y.flatten(1), p + "out")


def counted_too(config: ModelConfig) -> float:
    """Return the masked pairs within segments, those that fill the last one included, and of further heads."""
    masked, size = 4 * config.d_model, config.segment
    filled = -(-config.context // size) * size
    by_trunk = config.n_layer * masked * (size - attended(size, 0)) * filled / config.context
    return by_trunk + config.mtp_heads * masked * (config.context - attended(config.context, 0))


CASES = {
    "memory of segments": Case(options={"segment": 5}, reference=Infini, counted_too=counted_too),
    "memory, grouped, normalised, value residuals, a further head": Case(
        options={
            "segment": 4,
            "attention": "grouped",
            "n_kv_head": 2,
            "qk_norm": True,
            "value_residual": True,
            "mtp_heads": 1,
        },
        reference=Infini,
        counted_too=counted_too,
    ),
}
