"""Megalodon from its paper (arXiv:2404.08801): complex numbers, a token, a channel and a head at a time."""

import math

import torch
from torch import Tensor

from model.config import ModelConfig
from model.network.counts import attended
from tests.model.network.case import Case
from tests.model.network.ideas.shortcuts import Short
from tests.model.network.ideas.state_space import silu


class Averaging(Short):
    def block(self, x: Tensor, p: str, index: int | None) -> Tensor:
        every = self.c.attention_every
        if index is None or (every and (index + 1) % every == 0):
            return super().block(x, p, index)
        if self.c.embedding_shortcut and index:
            x = x + self.w[p + "shortcut"] * self.embedded
        y = x + self.megalodon(self.timestep_norm(x, p + "megalodon_norm"), p + "megalodon.")
        return x + self.mlp(self.norm(y, p + "mlp_norm"), p + "mlp.")

    def timestep_norm(self, x: Tensor, name: str) -> Tensor:
        groups, y = self.c.timestep_groups, torch.zeros_like(x)
        width = x.shape[1] // groups
        for t in range(len(x)):
            for g in range(groups):
                own = slice(g * width, (g + 1) * width)
                seen = x[: t + 1, own]
                y[t, own] = (x[t, own] - seen.mean()) / (seen.var(correction=0) + 1e-5).sqrt()
        normalised: Tensor = y * self.w[name + ".weight"] + self.w[name + ".bias"]
        return normalised

    def averages(self, x: Tensor, p: str) -> Tensor:
        n, width = self.c.ema_dim, x.shape[1]
        alpha, delta, re, im = (self.w[p + m].view(width, n) for m in ("alpha", "delta", "weight_re", "weight_im"))
        y, states = torch.zeros_like(x), torch.zeros(width, n, dtype=torch.complex128)
        alpha, delta, omega = (torch.sigmoid(t) for t in (alpha, delta, self.w[p + "omega"]))
        angle = 2 * math.pi * torch.outer(omega, torch.arange(1, n + 1, dtype=torch.float64) / n)
        turn = torch.polar(1 - alpha * delta, angle)
        for t in range(len(x)):
            states = alpha * x[t][:, None] + turn * states
            y[t] = (torch.complex(re, im) * states).sum(dim=1).real / math.sqrt(n) + self.w[p + "skip"] * x[t]
        return y

    def megalodon(self, x: Tensor, p: str) -> Tensor:
        d, heads, width = self.c.d_model, self.c.n_head, self.c.head_dim
        averaged = self.norm(self.averages(x, p + "average."), p + "average_norm")
        both = self.linear(averaged, p + "into")
        z, gate, v = both[:, :d], silu(both[:, d:]), silu(self.linear(x, p + "values"))
        y = torch.zeros_like(v)
        for h in range(heads):
            own, wide = slice(h * width, (h + 1) * width), slice(2 * h * width, 2 * (h + 1) * width)
            q, k = (
                torch.stack([row / row.norm() for row in z[:, own]]) * scale[own] + shift[own]
                for scale, shift in zip(self.w[p + "scale"].chunk(2), self.w[p + "shift"].chunk(2), strict=True)
            )
            for t in range(len(x)):
                begin = t // self.c.attention_chunk * self.c.attention_chunk
                scores = [self.turn(q[t], t) @ self.turn(k[s], s) for s in range(begin, t + 1)]
                weights = torch.stack(scores).exp()
                y[t, wide] = (weights / weights.sum()) @ v[begin : t + 1, wide]
        return self.linear(averaged, p + "through") + self.linear(y * gate, p + "out")


def counted_too(config: ModelConfig) -> float:
    """Return the masked pairs within chunks, those that fill the last one included, and of plain attention."""
    total, size = 0.0, config.attention_chunk
    filled = -(-config.context // size) * size / config.context
    for layer in [*config.layers, *[config.further_layer] * config.mtp_heads]:
        own = layer.mixer == "megalodon"
        masked = filled * 6 * (size - attended(size, 0)) if own else 4 * (config.context - attended(config.context, 0))
        total += config.d_model * masked
    return total


CASES = {
    "megalodon": Case(
        options={"mixer": "megalodon", "ema_dim": 3, "attention_chunk": 5, "norm_groups": 4},
        reference=Averaging,
        counted_too=counted_too,
    ),
    "megalodon and attention in turn, all short paths, a further head": Case(
        options={
            "mixer": "megalodon",
            "attention_every": 2,
            "n_layer": 3,
            "attention_chunk": 4,
            "embedding_shortcut": True,
            "embedding_norm": True,
            "zero_init": True,
            "tied": False,
            "mtp_heads": 1,
        },
        reference=Averaging,
        counted_too=counted_too,
    ),
}
