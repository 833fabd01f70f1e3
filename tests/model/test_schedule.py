import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.schedule import one_cycle

SHAPES = st.tuples(st.floats(1e-5, 0.1), st.floats(0.05, 0.9), st.floats(2, 100), st.floats(2, 1e4))


def rate(progress: float, shape: tuple[float, float, float, float]) -> float:
    names = ("max_lr", "pct_start", "div_factor", "final_div_factor")
    return one_cycle(progress, **dict(zip(names, shape, strict=True)))


@pytest.mark.parametrize("pct_start", [0.1, 0.3, 0.5])
def test_it_is_torchs_one_cycle(pct_start: float) -> None:
    """Torch's phases end at step pct_start · N − 1 and N − 1: the same curve, its two parts stretched by a step."""
    n, shape = 100, (3e-3, pct_start, 25.0, 1e4)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=3e-3,
        total_steps=n,
        pct_start=pct_start,
        div_factor=25.0,
        final_div_factor=1e4,
        cycle_momentum=False,
    )
    peak = pct_start * n - 1
    for step in range(n):
        up = step <= peak
        progress = pct_start * step / peak if up else pct_start + (1 - pct_start) * (step - peak) / (n - 1 - peak)
        assert rate(progress, shape) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if step < n - 1:
            scheduler.step()


@given(SHAPES)
def test_its_three_corners(shape: tuple[float, float, float, float]) -> None:
    max_lr, pct_start, div_factor, final_div_factor = shape
    assert rate(0, shape) == pytest.approx(max_lr / div_factor)
    assert rate(pct_start, shape) == pytest.approx(max_lr)
    assert rate(1, shape) == pytest.approx(max_lr / div_factor / final_div_factor)
    assert rate(1.3, shape) == rate(1, shape)


@given(SHAPES, st.lists(st.floats(0, 1), min_size=2, max_size=10))
def test_it_rises_to_the_peak_and_falls_after(shape: tuple[float, float, float, float], points: list[float]) -> None:
    for a, b in zip(sorted(points), sorted(points)[1:], strict=False):
        if b <= shape[1]:
            assert rate(a, shape) <= rate(b, shape) * (1 + 1e-12)
        elif a >= shape[1]:
            assert rate(a, shape) >= rate(b, shape) * (1 - 1e-12)
