import math

import numpy as np
import pytest
from optuna.trial import FrozenTrial
from scipy import stats

from search.strategy.reported_losses import MIN_GOOD, ReportedLosses
from tests.search.curves_made import trial

TRIALS = [
    trial("complete", {10: 3.0, 20: 2.0, 30: 1.0}),
    trial("complete", {10: 4.0, 30: 2.0}),  # no report at 20
    trial("pruned", {10: 5.0}),
    trial("running", {10: 6.0, 20: 2.5}),
    trial("running", {10: 7.0}),
    trial("fail", {10: 8.0, 20: 7.0}),
    trial("complete", {10: math.nan, 20: -math.inf, 30: 4.0}),
]


def same(losses: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(losses, np.array(expected))


def test_losses_at_a_step_by_hand() -> None:
    """Trials pruned before are behind; those not there yet, and failed ones, are left out; gaps keep the last loss."""
    runs = ReportedLosses.from_trials(TRIALS)
    same(runs.at(10), [3.0, 4.0, 5.0, 6.0, 7.0, math.inf])
    same(runs.at(20), [2.0, 4.0, math.inf, 2.5, math.nan, -math.inf])
    same(runs.at(15), [3.0, 4.0, math.inf, 6.0, math.nan, math.inf])
    same(runs.at(5), [math.nan] * 6)
    same(runs.final, [1.0, 2.0, math.nan, math.nan, math.nan, 4.0])
    assert (runs.steps, runs.finished, runs.ended) == ([10, 20, 30], 3, 4)


def test_scores_at_a_step_are_among_trials_that_came_so_far() -> None:
    ppf = stats.norm.ppf
    expected = [*ppf([0.3, 0.7, 0.9, 0.5]), math.nan, ppf(0.1)]
    same(ReportedLosses.from_trials(TRIALS).scores_at(20), expected)


def test_a_study_that_maximises_is_turned_round() -> None:
    trials = [trial("complete", {10: 0.3, 20: 0.9}), trial("complete", {10: math.nan, 20: 0.5}), trial("pruned", {})]
    runs = ReportedLosses.from_trials(trials, maximise=True)
    same(runs.at(10), [-0.3, math.inf, math.inf])
    same(runs.final, [-0.9, -0.5, math.nan])


def test_pruned_trials_at_a_step_are_those_whose_last_report_is_there() -> None:
    trials = [trial("pruned", {10: 5.0}), trial("pruned", {10: 4.0, 20: 4.0}), *TRIALS, trial("pruned", {})]
    runs = ReportedLosses.from_trials(trials)
    assert (runs.pruned_at(10), runs.pruned_at(20), runs.pruned_at(30)) == ([0, 4], [1], [])


def many(finished: int, pruned: int = 0) -> list[FrozenTrial]:
    return [trial("complete", {1: float(i), 2: float(i)}) for i in range(finished)] + [
        trial("pruned", {1: 9.0}) for _ in range(pruned)
    ]


@pytest.mark.parametrize(
    ("finished", "pruned", "good"), [(3, 0, 3), (20, 0, MIN_GOOD), (40, 0, 10), (40, 40, 20), (9, 91, 9)]
)
def test_good_runs_are_a_quarter_of_all_that_ended(finished: int, pruned: int, good: int) -> None:
    places, scores = ReportedLosses.from_trials(many(finished, pruned)).good
    assert places == list(range(good))
    ended = finished + pruned
    assert scores == pytest.approx(stats.norm.ppf((np.arange(good) + 0.5) / ended))


def test_without_ended_trials_nothing_is_known() -> None:
    for trials in ([], [trial("running", {10: 1.0})], [trial("fail", {10: 1.0})]):
        runs = ReportedLosses.from_trials(trials)
        assert (runs.finished, runs.ended, runs.steps, runs.good[0]) == (0, 0, [], [])


def test_equal_ends_share_a_score_and_the_first_count_as_good() -> None:
    places, scores = ReportedLosses.from_trials([trial("complete", {1: 1.0, 2: 5.0}) for _ in range(12)]).good
    assert places == list(range(MIN_GOOD))
    assert scores == pytest.approx([0.0] * MIN_GOOD)
