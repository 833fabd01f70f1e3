import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.schedule import PRESETS, SCHEDULES, learning_rate

SHAPES = st.tuples(st.floats(1e-5, 0.1), st.floats(0.05, 0.9), st.floats(2, 100), st.floats(2, 1e4))


Shape = tuple[float, float, float, float]


def rate(progress: float, shape: Shape, schedule: str = "one_cycle", decay_fraction: float = 0.2) -> float:
    names = ("max_lr", "pct_start", "div_factor", "final_div_factor")
    return learning_rate(schedule, progress, **dict(zip(names, shape, strict=True)), decay_fraction=decay_fraction)


WRITE_UP = {
    "one_cycle_standard": (0.3, 3.0, 10.0),
    "one_cycle_aggressive": (0.05, 10.0, 100.0),
    "one_cycle_medium": (0.1, 6.0, 20.0),
}
"""The three shapes of the write-up: pct_start, div_factor, final_div_factor, as given to torch."""


@pytest.mark.parametrize(
    ("schedule", "given"), [*(("one_cycle", (pct, 25.0, 1e4)) for pct in (0.1, 0.3, 0.5)), *WRITE_UP.items()]
)
def test_it_is_torchs_one_cycle(schedule: str, given: tuple[float, float, float]) -> None:
    """Torch's phases end at step pct_start · N − 1 and N − 1: the same curve, its two parts stretched by a step."""
    pct_start, div_factor, final_div_factor = given
    n = 100
    shape = (3e-3, *(given if schedule == "one_cycle" else (0.7, 2.0, 3.0)))  # which a preset doesn't heed
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=3e-3,
        total_steps=n,
        pct_start=pct_start,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        cycle_momentum=False,
    )
    peak = pct_start * n - 1
    for step in range(n):
        up = step <= peak
        progress = pct_start * step / peak if up else pct_start + (1 - pct_start) * (step - peak) / (n - 1 - peak)
        assert rate(progress, shape, schedule) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if step < n - 1:
            scheduler.step()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_one_cycle_with_its_numbers(name: str) -> None:
    for progress in (0.0, 0.02, 0.2, 0.5, 0.9, 1.0):
        assert rate(progress, (3e-3, 0.6, 3.0, 7.0), name) == rate(progress, (3e-3, *PRESETS[name]))


def test_names_of_earlier_versions_are_still_what_they_were() -> None:
    assert {name: PRESETS[name] for name in ("one_cycle_early", "one_cycle_shallow")} == {
        "one_cycle_early": (0.05, 25.0, 1e4),
        "one_cycle_shallow": (0.3, 10.0, 10.0),
    }


def test_torchs_defaults_are_a_preset() -> None:
    defaults = inspect.signature(torch.optim.lr_scheduler.OneCycleLR).parameters
    assert PRESETS["one_cycle_torch"] == tuple(
        defaults[k].default for k in ("pct_start", "div_factor", "final_div_factor")
    )


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0.1, 0.55, 1.0, 0.5 + 0.0005, 0.001]),
        ("cosine", [0.1, 0.55, 1.0, 0.5 + 0.0005, 0.001]),
        ("warmup_stable_decay", [0.1, 0.55, 1.0, 1.0, 0.001]),
    ],
)
def test_worked_by_hand(schedule: str, expected: list[float]) -> None:
    """max_lr 1 from 0.1, down to 0.001: at 0, half and all of the warm-up of 20%, half-way down, and at the end."""
    shape = (1.0, 0.2, 10.0, 100.0)
    found = [rate(p, shape, schedule) for p in (0.0, 0.1, 0.2, 0.6, 1.0)]
    assert found == pytest.approx(expected)


def test_the_decay_is_a_line_in_the_last_part() -> None:
    shape = (1.0, 0.1, 10.0, 100.0)
    points = [(0.5, 1.0), (0.7, 1.0), (0.85, (1 + 0.001) / 2), (1.0, 0.001)]
    for progress, expected in points:
        assert rate(progress, shape, "warmup_stable_decay", decay_fraction=0.3) == pytest.approx(expected)


NAMED = st.sampled_from([s for s in SCHEDULES if s not in PRESETS])


@given(SHAPES, NAMED)
def test_their_three_corners(shape: Shape, schedule: str) -> None:
    max_lr, pct_start, div_factor, final_div_factor = shape
    assert rate(0, shape, schedule) == pytest.approx(max_lr / div_factor)
    assert rate(pct_start, shape, schedule, 0.05) == pytest.approx(max_lr)
    assert rate(1, shape, schedule) == pytest.approx(max_lr / div_factor / final_div_factor)
    assert rate(1.3, shape, schedule) == rate(1, shape, schedule)


@given(SHAPES, NAMED, st.lists(st.floats(0, 1), min_size=2, max_size=10))
def test_they_rise_to_the_peak_and_fall_after(shape: Shape, schedule: str, points: list[float]) -> None:
    for a, b in zip(sorted(points), sorted(points)[1:], strict=False):
        if b <= shape[1]:
            assert rate(a, shape, schedule, 0.05) <= rate(b, shape, schedule, 0.05) * (1 + 1e-12)
        elif a >= shape[1]:
            assert rate(a, shape, schedule, 0.05) >= rate(b, shape, schedule, 0.05) * (1 - 1e-12)
