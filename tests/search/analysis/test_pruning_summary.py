"""What status says of pruning, for studies made of numbers."""

import re
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial

from search.analysis import pruning_summary
from search.analysis.pruning_summary import open_from, saved_seconds
from search.analysis.snapshot import Snapshot
from search.strategy.pruner import Relation, earlier_sums
from search.study.study import LinkedStudy
from tests.search.curves_made import complete, predictive, study_of, trial, unrelated
from tests.search.made import PLAN


def study_with(trials: Sequence[FrozenTrial]) -> LinkedStudy:
    """A study of these proxies, without a database."""
    nothing = cast(Any, None)
    return LinkedStudy(PLAN, nothing, study_of(trials), optuna.create_study(), nothing, nothing, PLAN.name)


def pruning_lines(study: LinkedStudy) -> str:
    """Return the sentences about such a study's pruning."""
    snapshot = Snapshot(study=study.at_one_moment(), workers=[])
    return pruning_summary.pruning_lines(snapshot.plan, snapshot.proxies, snapshot.pruner, snapshot.relations)


def proven(n: int = 20) -> list[FrozenTrial]:
    return complete(predictive(np.random.default_rng(0), n))


def control(finished: FrozenTrial) -> FrozenTrial:
    finished.set_user_attr("control", True)
    return finished


def test_what_was_saved_is_the_rest_of_the_pruned_budgets() -> None:
    trials = [*proven(), trial("pruned", {5: 9.0, 10: 9.0}), trial("pruned", {5: 9.0, 10: 9.0, 15: 9.0, 20: 9.0})]
    text = pruning_lines(study_with(trials))  # 90% and 80% of 6 minutes
    assert text.startswith("Pruning: 2 pruned, which saved 10.2 min of training."), text


def test_controls_that_would_have_been_pruned_are_counted_and_the_best_among_them() -> None:
    trials = proven()
    worst, best = max(trials, key=lambda t: t.values[0]), min(trials, key=lambda t: t.values[0])
    trials = [control(t) if t in (worst, best) else t for t in trials]
    text = pruning_lines(study_with([*trials, trial("pruned", {5: 9.0})]))
    assert "; of 2 controls 1 would have been pruned, none of them among the best 10%." in text


def test_a_control_that_came_from_behind_counts_as_lost() -> None:
    losses, final = predictive(np.random.default_rng(0), 20)
    losses[0], final[0] = 9.0, 0.5
    trials = complete((losses, final))
    text = pruning_lines(study_with([control(trials[0]), *trials[1:], trial("pruned", {5: 9.0})]))
    assert "; of 1 controls 1 would have been pruned, 1 of them among the best 10%." in text


def test_more_than_nine_in_ten_may_have_been_pruned_or_wait() -> None:
    trials = [control(t) if t.number == 0 else t for t in proven(6)]
    gone = [trial("pruned", {5: 9.0, 10: 9.0}) for _ in range(90)]
    waiting = [optuna.trial.create_trial(state=optuna.trial.TrialState.WAITING) for _ in range(10)]
    assert "90 pruned" in pruning_lines(study_with([*trials, *gone, *waiting]))


@pytest.mark.parametrize(("finished", "text"), [(0, "0 finished"), (4, "4 finished")])
def test_few_finished_trials_are_why_none_was_pruned(finished: int, text: str) -> None:
    assert f"none pruned: {text} trials, 5 are needed first." in pruning_lines(study_with(proven(finished)))


def test_a_primed_study_needs_two_finished_trials() -> None:
    study = study_with(proven(1))
    table = {str(step): sums.tolist() for step, sums in earlier_sums(proven(40)).items()}
    study.proxies.set_user_attr("lessons:", table)
    assert "none pruned: 1 finished trials, 2 are needed first." in pruning_lines(study)


def test_an_unproven_relation_prunes_nothing_and_the_summary_says_so() -> None:
    text = pruning_lines(study_with(complete(unrelated(np.random.default_rng(1), 40))))
    expected = r"none pruned: losses so far aren't shown to predict final ones \(probability \d+% at most\)"
    assert re.search(expected, text), text


def test_a_proven_relation_without_pruned_trials_is_named_with_its_first_report() -> None:
    text = pruning_lines(study_with(proven()))
    assert "none pruned: from 5% on losses are shown to predict final ones" in text


def relations(*proofs: float) -> list[Relation]:
    return [Relation(20 * (i + 1), 8, 0.5, 0.1, proof) for i, proof in enumerate(proofs)]


def test_the_gate_is_open_from_where_it_stays_open() -> None:
    assert open_from(relations(0.96, 0.5, 0.97, 0.99), needed=6) == 60
    assert open_from(relations(0.96, 0.97, 0.5), needed=6) is None
    assert open_from(relations(0.99, 0.99), needed=9) is None  # too few have finished
    assert open_from([], needed=6) is None


def test_a_slower_machines_budget_is_saved_at_its_own_length() -> None:
    slow = trial("pruned", {5: 9.0, 20: 9.0})
    slow.set_user_attr("budget_scale", 1.5)
    assert saved_seconds([slow, *proven(2)], PLAN.proxy) == pytest.approx(0.8 * 1.5 * 360)
