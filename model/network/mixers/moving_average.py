"""Complex exponential moving averages of each channel, read in chunks: Megalodon's CEMA.

Ma et al. 2024, arXiv:2404.08801, section 3.1, with the input's expansion β and first rotation absorbed into η, as in
the authors' code. A channel with input x has N complex states h, 0 ≤ n < N:

    h_t = α x_t + q h_{t−1}      q_n = (1 − α_n δ_n) exp(2πi ω (n + 1) / N)      y_t = Re(Σ_n η_n h_t) / √N + s x_t

α, δ and ω lie between 0 and 1. So y is x convolved with Re(Σ η α qˡ): within a chunk by one product of matrices for
each channel, beyond it through the states at its beginning. Complex numbers are two real ones, which a compiler fuses.

Shapes: B sequences, T tokens of each, D channels, N averages of each, C = 2 · N: all real parts, then all imaginary
ones; M chunks of Q tokens each.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.shapes import Float

CHUNK = 64
"""Tokens of a chunk: speed alone."""
LEAST_DECAY = 1e-6
"""Least |q|, so that its logarithm is finite."""
SKIP_STD, SKIP_MOST = 0.25, 1.0
"""Standard deviation of s at first, and its largest size."""
LOGIT_STD = 0.2
"""Standard deviation of the logits of α and δ at first: both are then near 1/2."""


class Coefficients(NamedTuple):
    """The averages' α, q as logarithm of its size and angle, and η / √N."""

    gain: Float[Tensor, "D N"]
    log_decay: Float[Tensor, "D N"]
    angle: Float[Tensor, "D N"]
    weight_re: Float[Tensor, "D N"]
    weight_im: Float[Tensor, "D N"]

    def powers(self, exponents: Float[Tensor, "L"]) -> tuple[Float[Tensor, "D N L"], Float[Tensor, "D N L"]]:
        """Return real and imaginary part of q to these powers."""
        size, angle = (self.log_decay[..., None] * exponents).exp(), self.angle[..., None] * exponents
        return size * angle.cos(), size * angle.sin()


class MovingAverage(nn.Module):
    """The module: what is learnt of it, and the reading of tokens from the first on or from a state on.

    Parameters have one dimension, as those that neither decay nor are made orthogonal by Muon.
    """

    def __init__(self, width: int, n: int) -> None:
        super().__init__()
        self.width, self.n = width, n
        self.alpha, self.delta, self.weight_re, self.weight_im = (
            nn.Parameter(torch.empty(width * n)) for _ in range(4)
        )
        self.omega, self.skip = (nn.Parameter(torch.empty(width)) for _ in range(2))

    def draw(self, generator: torch.Generator | None) -> None:
        """Draw as the authors do: ω from 1/D to nearly 1, evenly on a logarithmic scale, for channels in any order."""
        for logits in (self.alpha, self.delta):
            nn.init.normal_(logits, std=LOGIT_STD, generator=generator)
        nn.init.normal_(self.weight_re, generator=generator)
        nn.init.zeros_(self.weight_im)
        nn.init.trunc_normal_(self.skip, std=SKIP_STD, a=-SKIP_MOST, b=SKIP_MOST, generator=generator)
        place = torch.randperm(self.width, generator=generator) + 1
        with torch.no_grad():
            self.omega.copy_(torch.logit(self.width ** -(place / self.width)))

    def coefficients(self) -> Coefficients:
        """Return what the averages are computed from."""
        alpha, delta, re, im = (
            torch.unflatten(p, 0, (self.width, self.n))
            for p in (self.alpha, self.delta, self.weight_re, self.weight_im)
        )
        gain, turns = alpha.sigmoid(), torch.arange(1, self.n + 1, dtype=torch.float32, device=alpha.device) / self.n
        log_decay = torch.log1p(-(gain * delta.sigmoid()).clamp(max=1 - LEAST_DECAY))
        angle = 2 * math.pi * self.omega.sigmoid()[:, None] * turns
        return Coefficients(gain, log_decay, angle, re / math.sqrt(self.n), im / math.sqrt(self.n))

    def initial_state(self, batch: int, device: torch.device) -> Float[Tensor, "D B C"]:
        """Return the states before the first token: zeros, in float32."""
        return torch.zeros(self.width, batch, 2 * self.n, device=device)

    def forward(
        self, x: Float[Tensor, "B T D"], state: Float[Tensor, "D B C"]
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "D B C"]]:
        """Return the averages of tokens that follow those in `state`, and the state after them."""
        y, state = moving_average(x, self.coefficients(), state, CHUNK)
        return y + self.skip * x, state


def moving_average(
    x: Float[Tensor, "B T D"], by: Coefficients, state: Float[Tensor, "D B C"], chunk: int
) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "D B C"]]:
    """Return y without its last term, and the state after the last token."""
    size = min(chunk, x.shape[1])
    if rest := x.shape[1] % size:  # a chunk of its own, so that nothing is appended that a state would forget through
        y, state = moving_average(x[:, :-rest], by, state, chunk)
        last, state = moving_average(x[:, -rest:], by, state, chunk)
        return torch.cat((y, last), dim=1), state
    near, made, far = _matrices(by, size)
    inputs = torch.unflatten(_transposed(x.flatten(0, 1)), 1, (-1, size))  # (D B·M Q)
    by_each = torch.unflatten(inputs @ made, 1, (len(x), -1)).to(state.dtype)  # of each chunk alone (D B M C)
    states = _handed_on(torch.cat((state[:, :, None], by_each), dim=2), by, size)
    y = inputs @ near + states[:, :, :-1].flatten(1, 2) @ far
    return torch.unflatten(_transposed(y.flatten(1)), 0, x.shape[:2]), states[:, :, -1]


class _Transposed(torch.autograd.Function):
    """A matrix transposed in memory, and so its gradient: batched products and norms are slow in any other order."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        return matrix.T.contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.T.contiguous()


def _transposed(matrix: Float[Tensor, "I J"]) -> Float[Tensor, "J I"]:
    result: Tensor = _Transposed.apply(matrix)  # type: ignore[no-untyped-call]
    return result


def moving_average_products(length: int, width: int, n: int) -> float:
    """Return the multiplications of `moving_average` for one of `length` tokens, causality's zeros included."""
    size = min(CHUNK, length)
    rest = length % size
    return width * sum(tokens * (of + 4 * n) for of, tokens in ((size, length - rest), (rest, rest))) / length


def _matrices(by: Coefficients, size: int) -> tuple[Float[Tensor, "D Q Q"], Float[Tensor, "D Q C"], Tensor]:
    """Return what turns a chunk's inputs into outputs and into its state, and the state before it into outputs.

    The last is (D C Q).
    """
    re, im = by.powers(torch.arange(size + 1, dtype=torch.float32, device=by.gain.device))
    weight_re, weight_im = by.weight_re[..., None], by.weight_im[..., None]
    read_re, read_im = weight_re * re - weight_im * im, -(weight_re * im + weight_im * re)
    kernel = (by.gain[..., None] * read_re[..., :-1]).sum(dim=1)
    made = torch.cat((by.gain[..., None] * re, by.gain[..., None] * im), dim=1)[..., :-1].flip(-1).mT
    return upper_toeplitz(kernel), made, torch.cat((read_re, read_im), dim=1)[..., 1:]


def upper_toeplitz(kernel: Float[Tensor, "D Q"]) -> Float[Tensor, "D Q Q"]:
    """Return the matrices of k_{j − i} at row i and column j, 0 where i > j.

    One row, repeated and cut a number short each time: no index, whose gradients a GPU would add in any order.
    """
    size = kernel.shape[1]
    row = F.pad(kernel, (0, size))
    return torch.unflatten(row.repeat(1, size)[:, : size * (2 * size - 1)], 1, (size, -1))[..., :size]


def _handed_on(states: Float[Tensor, "D B L C"], by: Coefficients, size: int) -> Float[Tensor, "D B L C"]:
    """Return what chunks make, each with all before it: sums over 2, 4, 8 … of them, decayed by the chunks between."""
    reach = 1
    while reach < states.shape[2]:
        exponent = torch.full((1,), float(size * reach), device=states.device)
        re, im = (t.mT[:, None] for t in by.powers(exponent))  # (D 1 1 N)
        real, imaginary = states[:, :, :-reach].chunk(2, dim=-1)
        moved = torch.cat((re * real - im * imaginary, im * real + re * imaginary), dim=-1)
        states = states + F.pad(moved, (0, 0, reach, 0))
        reach *= 2
    return states
