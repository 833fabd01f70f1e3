"""Linear layers whose weights are ternary or of two bits and whose inputs are of eight, trained as if they weren't.

Ternary: BitNet b1.58 (Ma et al. 2024, arXiv:2402.17764). Two bits: Apple's on-device model (2025, arXiv:2507.13575).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.counts import Counts
from model.network.shapes import Float

INPUT_BOUND = 127.0
"""Largest size of an input of eight bits."""
LEAST_SCALE = 1e-5
"""Smallest divisor: weights and inputs that are all zero stay so."""
NORMAL_STEP = 1.248
"""Distance of the four equidistant levels that lose least of a normal variable ÷ the mean size of its values: 0.9957
standard deviations (Max 1960, IRE Trans. Inf. Theory 6) ÷ √(2/π)."""


class Ternary(nn.Module):
    """x ↦ s a · L X: levels L of the weights W ≈ s · L, and whole numbers X of each token's normalised input ≈ a · X.

    s is the mean of |W|, a the largest size of that token's inputs ÷ 127. Both factors of the product are exact in
    bfloat16. Gradients are those of W x: rounding lets them pass (Bengio et al. 2013, arXiv:1308.3432). The norm before
    is the layer's own, as in BitNet, and has no gain; that of the block stays. In training W is kept in full; a stored
    layer has its levels alone, four to a byte, and works from those.
    """

    bound, offset = 1.0, 0.0
    """Size of the largest level, and distance of the levels from whole numbers."""
    packed: Tensor
    scale: Tensor

    def __init__(self, config: ModelConfig, n_in: int, n_out: int, std: float) -> None:
        super().__init__()
        self.n_in, self.n_out, self.std = n_in, n_out, std
        self.weight: nn.Parameter | None = nn.Parameter(torch.empty(n_out, n_in))

    def draw(self, generator: torch.Generator | None) -> None:
        """Draw the initial weights."""
        if self.weight is not None:
            nn.init.normal_(self.weight, std=self.std, generator=generator)

    def forward(self, x: Float[Tensor, "... N"]) -> Float[Tensor, "... M"]:
        """Return the map of each token, in the type of matrix products."""
        x = F.rms_norm(x.float(), (self.n_in,))
        size = x.detach().abs().amax(dim=-1, keepdim=True).clamp(min=LEAST_SCALE) / INPUT_BOUND
        levels, scale = self.quantised()
        y = F.linear(nearest(x / size, INPUT_BOUND), levels)
        return (y.float() * (size * scale)).to(y.dtype)

    def quantised(self) -> tuple[Float[Tensor, "M N"], Tensor]:
        """Return the weights' levels and their scale."""
        if self.weight is None:
            return unpacked(self.packed, self.n_out, self.n_in) - self.bound, self.scale
        scale = self.weight.detach().abs().mean().clamp(min=LEAST_SCALE)
        return nearest(self.weight / scale, self.bound), scale

    @torch.no_grad()
    def packed_form(self) -> dict[str, Tensor]:
        """Return what is stored of the layer: its levels, four to a byte, and their scale (1,)."""
        levels, scale = self.quantised()
        return {"packed": packed(levels + self.bound), "scale": scale.reshape(1)}

    def expect_packed(self) -> None:
        """Become a stored layer, before what is stored is read into it."""
        self._parameters.clear()
        self.weight = None
        size = -(-self.n_in * self.n_out // 4)
        self.register_buffer("packed", torch.zeros(size, dtype=torch.uint8))
        self.register_buffer("scale", torch.zeros(1))

    @staticmethod
    def counts(config: ModelConfig, n_in: int, n_out: int) -> Counts:
        """Return parameters and operations by closed form."""
        return Counts(n_in * n_out, n_in * n_out)


class TwoBit(Ternary):
    """The same with four levels, ±1/2 and ±3/2, balanced around zero.

    s is f · the mean of |W|, with f learnt as steps are in LSQ (Esser et al. 2020, arXiv:1902.08153); weights beyond
    2 s get no gradient. Apple finds the balanced set to train with fewer spikes than {−2, −1, 0, 1}.
    """

    bound, offset = 1.5, 0.5

    def __init__(self, config: ModelConfig, n_in: int, n_out: int, std: float) -> None:
        super().__init__(config, n_in, n_out, std)
        self.stretch: nn.Parameter | None = nn.Parameter(torch.full((1,), NORMAL_STEP))

    def quantised(self) -> tuple[Float[Tensor, "M N"], Tensor]:
        """Return the weights' levels and their scale."""
        if self.weight is None or self.stretch is None:
            return super().quantised()
        scale = (self.stretch * self.weight.detach().abs().mean()).clamp(min=LEAST_SCALE)
        limit = self.bound + 0.5
        return nearest((self.weight / scale).clamp(-limit, limit), self.bound, self.offset), scale

    def expect_packed(self) -> None:
        """Become a stored layer, before what is stored is read into it."""
        super().expect_packed()
        self.stretch = None

    @staticmethod
    def counts(config: ModelConfig, n_in: int, n_out: int) -> Counts:
        """Return parameters and operations by closed form."""
        return Counts(n_in * n_out + 1, n_in * n_out)


class _Nearest(torch.autograd.Function):
    """The nearest level, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float, offset: float) -> Tensor:
        return (x - offset).round().add(offset).clamp(-bound, bound)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient, None, None


def nearest(x: Tensor, bound: float, offset: float = 0.0) -> Tensor:
    """Return the nearest of the levels at distance 1 from −bound to bound; its gradient is that of x."""
    level: Tensor = _Nearest.apply(x, bound, offset)  # type: ignore[no-untyped-call]
    return level


def packed(codes: Tensor) -> Tensor:
    """Return whole numbers of 0 to 3, four to a byte, row after row, the first in the lowest bits; the rest is zero."""
    flat = codes.flatten().to(torch.uint8)
    fours = F.pad(flat, (0, -len(flat) % 4)).view(-1, 4)
    return fours[:, 0] | fours[:, 1] << 2 | fours[:, 2] << 4 | fours[:, 3] << 6


def unpacked(stored: Tensor, rows: int, columns: int) -> Float[Tensor, "M N"]:
    """Return the numbers of `packed` as a matrix."""
    codes = torch.stack([stored >> shift & 3 for shift in (0, 2, 4, 6)], dim=-1).flatten()
    return codes[: rows * columns].view(rows, columns).float()
