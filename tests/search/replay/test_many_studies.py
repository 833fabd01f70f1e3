import math
import os

import numpy as np
import optuna
import pytest
from scipy import stats

from search.common.errors import SearchError
from search.replay.curves import CurveSet, RecordedRun, curve_set
from search.replay.many_studies import ReplayTask, estimate, estimate_chance, replay_all, replay_tasks
from search.replay.one_study import StudyLimit
from search.replay.pruners import PrunerSpec


def made(name: str = "made", runs: int = 24) -> CurveSet:
    draw = np.random.default_rng(3)
    progress = np.arange(1, 6) / 5
    losses = [draw.uniform(1, 2) + draw.uniform(0.5, 2) * progress**-0.5 for _ in range(runs)]
    return curve_set(
        name, [RecordedRun(progress=progress, loss=y, final=float(y[-1])) for y in losses], steps=range(1, 6)
    )


class Broken(optuna.pruners.NopPruner):
    def __init__(self, index: int) -> None:
        raise IndexError(f"list index {index} out of range")


class Killing(optuna.pruners.NopPruner):
    def __init__(self, code: int) -> None:
        os._exit(code)


def test_student_s_interval_agrees_with_scipy_s() -> None:
    values = [0.4, 0.7, 0.5, 0.9, 0.6]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    interval = estimate(values)
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.62, expected.low, expected.high))


def test_an_interval_starts_at_zero_and_one_study_has_none() -> None:
    assert estimate([0.0, 0.0, 0.1]).low == 0.0
    assert (estimate([0.5]).mean, estimate([0.5]).low) == (0.5, None)
    assert estimate([0.2, 0.2]).high == pytest.approx(0.2)


@pytest.mark.parametrize(("lost", "studies"), [(0, 50), (11, 50), (50, 50), (1, 1)])
def test_wilson_s_interval_by_hand(lost: int, studies: int) -> None:
    """The shares p whose own standard error, √(p (1 − p) / n), puts them 1.96 of it from what was seen."""
    interval = estimate_chance([True] * lost + [False] * (studies - lost))
    assert interval.mean == lost / studies
    assert interval.low is not None
    assert interval.high is not None
    assert 0 <= interval.low <= interval.mean <= interval.high <= 1
    for end in {interval.low, interval.high} - {0.0, 1.0}:
        assert abs(end - interval.mean) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / studies), rel=1e-5)
    if (lost, studies) == (11, 50):
        assert (interval.low, interval.high) == pytest.approx((0.12753, 0.35243), abs=1e-4)


def test_every_pruner_gets_every_set_in_both_settings() -> None:
    parts = replay_tasks([made("a"), made("b", 40)], 30, None, {}, ["none", "percentile"])
    assert [(p.curves.name, p.limit, p.name) for p in parts] == [
        (name, setting, pruner)
        for name, both in (
            ("a", (StudyLimit(trials=24), StudyLimit(budget=6))),
            ("b", (StudyLimit(trials=30), StudyLimit(budget=10))),
        )
        for setting in both
        for pruner in ("none", "percentile 25")
    ]


def test_figures_don_t_depend_on_the_number_of_processes() -> None:
    parts = replay_tasks([made()], 20, 6.0, {}, ["median (defaults)", "ASHA", "correlation"])
    counted: list[int] = []
    alone = replay_all(parts, range(3), 1, lambda: counted.append(1))
    assert len(counted) == 3 * len(parts)
    assert replay_all(parts, range(3), 2, lambda: None) == alone
    assert replay_all(parts, range(3, 6), 1, lambda: None) != alone


def test_a_pruner_that_fails_is_named_in_a_line() -> None:
    spec = PrunerSpec("tests.search.replay.test_many_studies", "Broken", (3,))
    task = ReplayTask(curves=made(), limit=StudyLimit(trials=4), name="mine", pruner=spec)
    for jobs in (1, 2):
        with pytest.raises(SearchError, match=r'^pruner "mine" failed on made: IndexError: list index 3 out of range$'):
            replay_all([task], range(2), jobs, lambda: None)


def test_a_killed_process_is_reported() -> None:
    task = ReplayTask(
        curves=made(), limit=StudyLimit(trials=4), name="mine", pruner=PrunerSpec(__name__, "Killing", (9,))
    )
    with pytest.raises(SearchError, match="a replaying process was killed"):
        replay_all([task], range(2), 2, lambda: None)


def test_means_are_over_studies() -> None:
    parts = replay_tasks([made()], 20, 6.0, {}, ["none"])
    fixed, _ = replay_all(parts, range(2), 1, lambda: None)
    assert (fixed["cost"].mean, fixed["tried"].mean, fixed["best_pruned"].mean) == (1, 20, 0)
    assert math.isfinite(fixed["best_pruned"].high or math.nan)
