"""The pruner's rule "halving": one look at a quarter of the budget, after which the best quarter goes on."""

import math
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import FrozenTrial

from search.strategy.pruner import HALVING, CorrelationPruner, PruningDecision
from tests.search.curves_made import predictive, pruned_in_turn, running, study_of, trial


def judged(trials: list[FrozenTrial], reports: FrozenTrial, **settings: Any) -> PruningDecision:
    return CorrelationPruner(rule=HALVING, **{"controls": 0.0, **settings}).judge(study_of(trials), reports)


def stopped(losses: list[float], step: int = 25) -> list[FrozenTrial]:
    return [trial("pruned", {step: loss}) for loss in losses]


@pytest.mark.parametrize(
    ("loss", "place", "prunes"), [(0.5, 1, False), (1.5, 2, False), (2.0, 2, False), (2.5, 3, True), (9.0, 8, True)]
)
def test_of_eight_that_came_as_far_two_go_on(loss: float, place: int, prunes: bool) -> None:
    decision = judged(stopped([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), running(25, loss))
    assert (decision.prune, decision.place, decision.came_as_far) == (prunes, place, 8)
    assert decision.reason == ("behind" if prunes else "promising")


def test_the_first_goes_on_and_of_few_the_best() -> None:
    assert not judged([], running(25, 9.0)).prune
    assert not judged(stopped([2.0, 3.0]), running(25, 1.0)).prune
    assert judged(stopped([2.0, 3.0]), running(25, 2.5)).prune


def test_trials_that_have_not_come_as_far_do_not_count() -> None:
    others = [trial("running", {20: 1.0}), trial("waiting", {}), *stopped([2.0])]
    assert judged(others, running(25, 3.0)).came_as_far == 2


def test_a_trial_that_diverged_before_is_behind_all_that_came() -> None:
    decision = judged([trial("pruned", {5: 4.0, 10: math.nan}), *stopped([2.0] * 6)], running(25, 3.0))
    assert (decision.place, decision.came_as_far, decision.prune) == (7, 8, True)


@pytest.mark.parametrize(("step", "before", "looks"), [(20, [10], False), (30, [10, 20], True), (40, [20, 30], False)])
def test_it_looks_once_at_the_first_report_from_a_quarter_on(step: int, before: list[int], looks: bool) -> None:
    others = [trial("complete", dict.fromkeys((10, 20, 30, 40, 100), 1.0)) for _ in range(7)]
    reports = trial("running", dict.fromkeys([*before, step], 9.0), number=99)
    reports.set_user_attr("control", False)
    assert judged(others, reports).prune == looks


def test_controls_go_on() -> None:
    behind = running(25, 9.0, control=True)
    assert judged(stopped([1.0] * 7), behind).reason == "control"


def test_it_prunes_as_optunas_successive_halving_with_that_rung_alone() -> None:
    for seed in range(10):
        curves = predictive(np.random.default_rng(seed), 40)
        ours = pruned_in_turn(curves, CorrelationPruner(rule=HALVING, controls=0.0), seed)
        # Its next rung would be at 100, the end, which never prunes.
        theirs = pruned_in_turn(curves, SuccessiveHalvingPruner(min_resource=25, reduction_factor=4), seed)
        assert [(t.state, t.last_step) for t in ours] == [(t.state, t.last_step) for t in theirs]
        assert 5 <= sum(t.state == optuna.trial.TrialState.COMPLETE for t in ours) <= 16


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.1, 9.0), max_size=12), st.floats(0.1, 9.0))
def test_maximising_is_minimising_mirrored(losses: list[float], loss: float) -> None:
    pruner = CorrelationPruner(rule=HALVING, controls=0.0)
    mirrored = pruner.judge(study_of(stopped([-other for other in losses]), "maximize"), running(25, -loss))
    assert mirrored == judged(stopped(losses), running(25, loss))


def test_a_look_that_is_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="`look` is 0, but must be between 1 and inf"):
        CorrelationPruner(rule=HALVING, look=0)
