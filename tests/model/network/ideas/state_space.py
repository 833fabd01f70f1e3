"""Mamba-2 as the recurrence of its paper (arXiv:2405.21060), a token and a head at a time."""

import torch
from torch import Tensor

from model.config import ModelConfig
from model.network.counts import attended
from model.network.transformer import Transformer
from tests.model.network.case import Case
from tests.model.network.reference import Reference


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


class Recurrent(Reference):
    def block(self, x: Tensor, p: str, index: int | None) -> Tensor:
        every = self.c.attention_every
        if index is None or (every and (index + 1) % every == 0):
            return super().block(x, p, index)
        x = x + self.mamba(self.norm(x, p + "mamba_norm"), p + "mamba.")
        return x + self.mlp(self.norm(x, p + "mlp_norm"), p + "mlp.")

    def convolved(self, channels: Tensor, p: str) -> Tensor:
        y = torch.zeros_like(channels)
        for t in range(len(channels)):
            for back in range(min(4, t + 1)):
                y[t] += channels[t - back] * self.w[p + "filter"][:, 0, 3 - back]
        return silu(y + self.w[p + "filter_bias"])

    def mamba(self, x: Tensor, p: str) -> Tensor:
        inner, n, heads, width = 2 * self.c.d_model, self.c.ssm_state, 2 * self.c.n_head, self.c.head_dim
        projected = self.linear(x, p + "into")
        gate, steps = projected[:, :inner], projected[:, -heads:]
        channels = self.convolved(projected[:, inner:-heads], p)
        y = torch.zeros(len(x), inner, dtype=torch.float64)
        for h in range(heads):
            own = slice(h * width, (h + 1) * width)
            state = torch.zeros(n, width, dtype=torch.float64)
            for t in range(len(x)):
                value, b, c = channels[t, own], channels[t, inner : inner + n], channels[t, inner + n :]
                delta = torch.log1p(torch.exp(steps[t, h] + self.w[p + "step_bias"][h]))
                decay = torch.exp(-delta * torch.exp(self.w[p + "log_rate"][h]))
                state = decay * state + delta * torch.outer(b, value)
                y[t, own] = c @ state + self.w[p + "skip"][h] * value
        return self.linear(self.norm(y * silu(gate), p + "norm"), p + "out")


def counted_too(config: ModelConfig) -> float:
    """Return the masked pairs of blocks that have attention; a state space's are in our own count."""
    layers = [layer for layer in config.layers if layer.mixer != "mamba2"] + [config.further_layer] * config.mtp_heads
    return sum(4 * config.d_model * (config.context - attended(config.context, layer.window)) for layer in layers)


class Remembering(Case):
    def far_from_linear(self) -> Transformer:
        """Return a network whose states take in much and keep it for some tokens: Δ near 0.7, −a near 0.4."""
        net, g = super().far_from_linear(), torch.Generator().manual_seed(6)
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                if name.endswith("step_bias"):
                    parameter.normal_(0, 0.5, generator=g)
                elif name.endswith("log_rate"):
                    parameter.normal_(-1, 0.5, generator=g)
        return net


CASES = {
    "mamba2": Remembering(
        options={"mixer": "mamba2", "ssm_state": 8, "ssm_chunk": 5}, reference=Recurrent, counted_too=counted_too
    ),
    "mamba2 and attention in turn, grouped, untied, a further head": Remembering(
        options={
            "mixer": "mamba2",
            "attention_every": 2,
            "ssm_state": 8,
            "attention": "grouped",
            "n_kv_head": 2,
            "tied": False,
            "mtp_heads": 1,
        },
        reference=Recurrent,
        counted_too=counted_too,
    ),
}
