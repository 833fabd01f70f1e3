import math
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy import stats

from search.sweep import points

GRID: list[dict[str, Any]] = [{"n_layer": 1}, {"n_layer": 2}, {"n_layer": 3}]


def run(grid: int, value: float, tokens: int = 1000, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    attrs = {"grid": grid, "tokens": tokens, "tokens_per_param": 5.0, "tokens_per_second": 10}
    given = value if state == TrialState.COMPLETE else None
    return create_trial(state=state, value=given, user_attrs=attrs)


def test_means_and_intervals_worked_by_hand() -> None:
    """Two repeats each: deviations of 0.1 and 0.3 from their means pool to √((2·0.01 + 2·0.09)/2) = √0.1."""
    trials = [run(0, 1.9), run(0, 2.1, 3000), run(2, 2.7), run(2, 3.3), run(1, 9.9, state=TrialState.FAIL)]
    first, third = points(GRID, trials)
    assert (first.params, third.params) == ({"n_layer": 1}, {"n_layer": 3})
    assert (first.bpb, third.bpb) == pytest.approx((2.0, 3.0))
    assert first.tokens == 2000
    expected = stats.t.ppf(0.975, 2) * math.sqrt(0.1) / math.sqrt(2)
    assert (first.half_width, third.half_width) == pytest.approx((expected, expected))


def test_without_repeats_there_is_no_interval() -> None:
    (only,) = points(GRID, [run(1, 2.5)])
    assert (only.runs, only.half_width) == (1, None)
