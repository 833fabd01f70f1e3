"""Mamba-2's mixer (Dao & Gu 2024, arXiv:2405.21060, section 7): a short convolution, a state space, a gate.

Shapes: B sequences, T tokens of each, D = d_model, I = 2 · D the inner width of H heads of width P, N = ssm_state,
C = I + 2 · N channels of the convolution.
"""

import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.counts import Counts, vectors
from model.network.linears import linear, linear_counts
from model.network.mixers.state_space import state_space, state_space_products
from model.network.part import Part, Shared, Where
from model.network.shapes import Float
from model.options.layer import Layer

EXPANSION = 2
"""Inner width ÷ d_model, as in the paper."""
REACH = 4
"""Tokens that the convolution looks back on, its own included."""
FIRST_STEPS = (1e-3, 0.1)
"""Range of a head's Δ at first, on a logarithmic scale."""
FIRST_RATES = (1.0, 16.0)
"""Range of a head's −a at first."""


class Read(NamedTuple):
    """What is kept of the tokens read so far; its tensors are overwritten in place."""

    channels: Float[Tensor, "B R C"]
    """The convolution's last REACH − 1 inputs."""
    state: Float[Tensor, "B N H P"]
    """The state, in float32: it is rounded anew with every token."""


class Mamba(Part):
    """What each position reads from a state of fixed size, whatever the number of tokens before it.

    Heads are twice attention's, of the same width; all of them share b and c.
    """

    name = "mamba"

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__(config, layer)
        self.widths, self.head_dim, self.chunk = _widths(config), config.head_dim, config.ssm_chunk
        inner, n_state, heads = self.widths
        self.into = linear(config, "mamba.into", config.d_model, 2 * (inner + n_state) + heads)
        self.out = linear(config, "mamba.out", inner, config.d_model)
        # Three dimensions, as torch's convolutions have: no matrix, which Muon would make orthogonal.
        self.filter = nn.Parameter(torch.empty(inner + 2 * n_state, 1, REACH))
        self.filter_bias = nn.Parameter(torch.empty(inner + 2 * n_state))
        self.log_rate, self.step_bias, self.skip = (nn.Parameter(torch.empty(heads)) for _ in range(3))
        self.norm = nn.RMSNorm(inner)

    def draw(self, generator: torch.Generator | None) -> None:
        """Draw the filter as torch's convolutions do, and Δ and a from the paper's ranges."""
        for parameter in (self.filter, self.filter_bias):
            nn.init.uniform_(parameter, -1 / math.sqrt(REACH), 1 / math.sqrt(REACH), generator=generator)
        with torch.no_grad():
            self.log_rate.uniform_(*FIRST_RATES, generator=generator).log_()
            low, high = map(math.log, FIRST_STEPS)
            steps = self.step_bias.uniform_(low, high, generator=generator).exp()
            self.step_bias.copy_(steps.expm1().log())  # so that softplus gives Δ back
            self.skip.fill_(1)

    def forward(self, x: Float[Tensor, "B T D"], where: Where, shared: Shared) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return what is read, mapped back into the stream."""
        before = self.initial_state(len(x), x.shape[1], x.device, x.dtype)
        return self._read(x, before)[0], shared

    def initial_state(self, batch: int, length: int, device: torch.device, dtype: torch.dtype) -> Read:
        """Return the state before the first token: zeros, whatever the length."""
        inner, n_state, heads = self.widths
        channels = torch.zeros(batch, REACH - 1, inner + 2 * n_state, device=device, dtype=dtype)
        return Read(channels, torch.zeros(batch, n_state, heads, self.head_dim, device=device))

    def step(
        self, x: Float[Tensor, "B T D"], state: Read, where: Where, shared: Shared
    ) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return what `forward` does for the tokens that follow those in `state`, and add them to it."""
        y, after = self._read(x, state)
        for stored, new in zip(state, after, strict=True):
            stored.copy_(new)
        return y, shared

    def _read(self, x: Tensor, before: Read) -> tuple[Tensor, Read]:
        inner, n_state, heads = self.widths
        gate, channels, steps = torch.split(self.into(x), [inner, inner + 2 * n_state, heads], dim=-1)
        channels = torch.cat((before.channels.to(channels.dtype), channels), dim=1)
        values, b, c = torch.split(self._convolved(channels), [inner, n_state, n_state], dim=-1)
        values = torch.unflatten(values, -1, (heads, self.head_dim))
        delta = F.softplus(steps.float() + self.step_bias)
        inputs, log_decay = values * delta[..., None], -delta * self.log_rate.exp()
        y, state = state_space(inputs, log_decay, b, c, before.state, self.chunk)
        y = (y + values * self.skip[:, None]).flatten(2)
        return self.out(self.norm(y * F.silu(gate.float()))), Read(channels[:, 1 - REACH :], state)

    def _convolved(self, channels: Float[Tensor, "B S C"]) -> Float[Tensor, "B T C"]:
        """Return each channel's sum over the last tokens, weighted by its filter, through SiLU."""
        length, convolved = channels.shape[1] - REACH + 1, cast(Tensor, self.filter_bias)
        for i, tap in enumerate(self.filter[:, 0].unbind(dim=-1)):
            convolved = convolved + channels[:, i : i + length] * tap
        return F.silu(convolved)

    @staticmethod
    def counts(config: ModelConfig, layer: Layer) -> Counts:
        """Return parameters and operations: those of both layers, and the products of chunks and states."""
        inner, n_state, heads = _widths(config)
        products = state_space_products(config.context, config.ssm_chunk, heads, config.head_dim, n_state)
        return Counts.of(
            linear_counts(config, "mamba.into", config.d_model, 2 * (inner + n_state) + heads),
            linear_counts(config, "mamba.out", inner, config.d_model),
            Counts(0, products),
            vectors((inner + 2 * n_state) * (REACH + 1) + 3 * heads + inner),
        )


def _widths(config: ModelConfig) -> tuple[int, int, int]:
    """Return the inner width, that of the state, and the number of heads."""
    return EXPANSION * config.d_model, config.ssm_state, EXPANSION * config.n_head
