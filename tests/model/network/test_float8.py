"""Products in float8 against the formats' own definition, worked out in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.network.linears.float8 import GRADIENTS, NUMBERS, float8_linear, scaled

E4M3, E5M2 = (3, -6, 448.0), (2, -14, 57344.0)
"""Bits of mantissa, exponent of the smallest normal number, largest number (Micikevicius et al. 2022, table 1)."""


def rounded(x: Tensor, form: tuple[int, int, float]) -> Tensor:
    """Return each number ÷ s at its nearest neighbour in the format, ties to even, times s again."""
    bits, least, largest = form
    scale = x.float().abs().max() / largest
    quotient = (x.float() / scale).double()
    exponent = (quotient.abs().frexp().exponent - 1).clamp(min=least)
    step = torch.exp2((exponent - bits).double())
    return (quotient / step).round() * step * scale.double()


def draws(*shapes: tuple[int, ...]) -> list[Tensor]:
    """Return numbers whose sizes span several orders of magnitude."""
    g = torch.Generator().manual_seed(0)
    return [torch.randn(s, generator=g) * torch.exp(2 * torch.randn(s, generator=g)) for s in shapes]


def test_numbers_by_hand() -> None:
    """Beside 448, which makes the scale 1: steps of 1/8 from 1 on, of 2 from 16 on, of 2⁻⁹ below 2⁻⁶; ties to even."""
    values, scale = scaled(torch.tensor([-448.0, 1.06, 1.07, 17.0, 19.0, 0.0148, 1e-4]), NUMBERS)
    assert scale == 1
    assert values.float().tolist() == [-448, 1, 1.125, 16, 20, 0.015625, 0]
    values, scale = scaled(torch.tensor([28672.0, 1.125, 1.4]), GRADIENTS)
    assert scale == 0.5
    assert (values.float() * scale).tolist() == [28672, 1, 1.5]


@pytest.mark.parametrize("shape", [(16, 32), (2, 3, 5, 32)], ids=["matrix", "tokens to fill up"])
def test_product_and_gradients_are_those_of_rounded_factors(shape: tuple[int, ...]) -> None:
    x, weight, upstream = draws(shape, (48, 32), (*shape[:-1], 48))
    x.requires_grad_()
    weight.requires_grad_()
    y = float8_linear(x, weight)
    assert y.dtype == torch.bfloat16
    by_x, by_weight = torch.autograd.grad(y, [x, weight], upstream.bfloat16())
    assert by_x.dtype == by_weight.dtype == torch.float32
    x8, weight8 = (rounded(t.detach().bfloat16(), E4M3) for t in (x, weight))
    upstream8 = rounded(upstream.bfloat16(), E5M2)
    expected = (
        x8 @ weight8.T,
        upstream8 @ weight8,
        upstream8.flatten(0, -2).T @ x8.flatten(0, -2),
    )
    for ours, exact in zip((y, by_x, by_weight), expected, strict=True):
        near = 1e-6 * float(exact.abs().max())  # sums in float32, then rounded to bfloat16
        torch.testing.assert_close(ours.double(), exact, rtol=2**-8, atol=near)


def test_within_autocast_the_factors_are_the_same() -> None:
    x, weight = draws((16, 32), (48, 32))
    x.requires_grad_()
    alone = float8_linear(x, weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(float8_linear(x, weight), alone)


def test_rounding_costs_some_hundredths() -> None:
    """Of each factor a sixteenth at most, in the mean of a product of many numbers less than that."""
    x, weight = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(1)).unbind(0)
    exact = x.double() @ weight.double().T
    error = (float8_linear(x.requires_grad_(), weight).detach().double() - exact).norm() / exact.norm()
    assert 0.01 < error < 1 / 16


def test_zeros_stay_zeros() -> None:
    x, weight = torch.zeros(16, 16, requires_grad=True), torch.zeros(16, 16, requires_grad=True)
    y = float8_linear(x, weight)
    gradients = torch.autograd.grad(y.sum(), [x, weight])
    assert not any(t.any() for t in (y, *gradients))


def test_where_nothing_is_learned_it_is_the_plain_product() -> None:
    x, weight = draws((3, 8), (5, 8))
    with torch.inference_mode():
        assert torch.equal(float8_linear(x, weight), F.linear(x, weight))


def test_what_is_no_number_stays_none() -> None:
    """A run that diverges has to be seen to."""
    x = torch.ones(16, 16).index_fill_(0, torch.tensor([3]), float("inf"))
    assert float8_linear(x.requires_grad_(), torch.ones(16, 16)).isnan().any()
