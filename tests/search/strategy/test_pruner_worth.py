"""The pruner's rule "worth": a trial's chance of the best beside that of new trials for the same cost."""

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.trial import FrozenTrial
from scipy import stats

from search.replay.curves import CurveSet
from search.replay.one_study import StudyLimit, replay
from search.strategy.pruner import CorrelationPruner, PruningDecision
from search.strategy.pruner_worth import SLOPE, SLOPE_WEIGHT, chance_of_place, worth_of
from search.strategy.reported_losses import ReportedLosses
from tests.search.curves_made import STEPS, complete, predictive, running, study_of, trial

BY_20 = (20, 40, 60, 80, 100)


def proven(n: int = 30, seed: int = 0) -> list[FrozenTrial]:
    return complete(predictive(np.random.default_rng(seed), n))


def judged(trials: list[FrozenTrial], reports: FrozenTrial, **settings: Any) -> PruningDecision:
    return CorrelationPruner(**settings).judge(study_of(trials), reports)


def ended(final: float, last: int = 100) -> FrozenTrial:
    """A trial that is always 1 worse than at its end, pruned if it doesn't reach it."""
    reports = {step: final + (step < 100) for step in BY_20 if step <= last}
    return trial("complete" if last == 100 else "pruned", reports)


def test_new_trials_places_is_their_share_of_all_that_will_have_been_spent() -> None:
    """By hand: 4 whole runs, 0.2 and 0.4 make 4.6; past 20% four had 0.8 left and one 0.2, so 0.68 on average."""
    trials = [ended(final) for final in (1.0, 1.5, 2.0, 2.2)] + [ended(3.0, last=20), ended(3.0, last=40)]
    worth = worth_of(ReportedLosses.from_trials(trials), 20, 2.4)
    assert worth is not None
    assert worth.new_places == pytest.approx(0.68 / (4.6 + 0.68))

    three = worth_of(ReportedLosses.from_trials(trials), 20, 2.4, places=3)
    assert three is not None
    assert three.new_places == pytest.approx(3 * worth.new_places)
    assert three.chance > worth.chance


def test_with_no_more_finished_trials_than_places_each_of_them_has_one() -> None:
    trials = [ended(final) for final in (1.0, 1.5, 2.0, 2.2)]
    assert worth_of(ReportedLosses.from_trials(trials), 20, 9.0, places=4) is None
    assert worth_of(ReportedLosses.from_trials(trials), 20, 9.0, places=3) is not None


@pytest.mark.parametrize("places", [1, 3])
@pytest.mark.parametrize("loss", [0.7, 1.4, 2.5])
def test_the_chance_is_the_tail_of_a_line_with_a_prior_slope_by_least_squares(loss: float, places: int) -> None:
    """The prior slope is a further row of the least-squares problem; the predictive distribution by its matrix."""
    rng = np.random.default_rng(2)
    x = rng.uniform(1, 2, 12)
    y = 0.6 * x + 0.1 * rng.standard_normal(12)
    penalty = SLOPE_WEIGHT * ((x - x.mean()) ** 2).sum() / 12
    rows = np.array([*((1.0, xi) for xi in x - x.mean()), (0.0, math.sqrt(penalty))])
    line, *_ = np.linalg.lstsq(rows, np.array([*y, math.sqrt(penalty) * SLOPE]))
    noise = ((y - rows[:-1] @ line) ** 2).sum() / 11
    at = np.array([1.0, loss - x.mean()])
    scale = math.sqrt(noise * (1 + at @ np.linalg.inv(rows.T @ rows) @ at))
    expected = stats.t.cdf((np.sort(y)[places - 1] - at @ line) / scale, 11)
    assert chance_of_place(x, y, loss, places) == pytest.approx(expected)


def test_chances_come_true_as_often_as_they_say() -> None:
    """2,000 studies of 8 finished runs and a ninth: it becomes the best as often as the chances add up to."""
    rng = np.random.default_rng(0)
    losses = rng.standard_normal((2000, 9))
    final = losses + 0.5 * rng.standard_normal((2000, 9))
    chances = np.array([chance_of_place(x[:8], y[:8], float(x[8])) for x, y in zip(losses, final, strict=True)])
    best = final[:, 8] < final[:, :8].min(axis=1)
    for some in (chances < 0.1, chances >= 0.1):
        assert abs(best[some].mean() - chances[some].mean()) < 3 * best[some].std() / math.sqrt(some.sum())


def test_a_trial_behind_is_outbid_and_one_ahead_is_promising() -> None:
    behind, ahead = judged(proven(), running(50, 2.0)), judged(proven(), running(50, 1.3))
    assert (behind.prune, behind.reason) == (True, "outbid")
    assert (ahead.prune, ahead.reason) == (False, "promising")
    for decision in (behind, ahead):
        assert decision.proof is not None
        assert decision.place_chance is not None
        assert decision.new_trials_places is not None
        assert (decision.place_chance < decision.new_trials_places) == decision.prune


@pytest.mark.parametrize(("finished", "reason"), [(0, "few"), (4, "few"), (5, "outbid")])
def test_nothing_is_outbid_before_enough_trials_finished(finished: int, reason: str) -> None:
    assert judged(proven(5)[:finished], running(50, 9.0)).reason == reason


def test_two_finished_trials_give_no_noise_and_prune_nothing() -> None:
    assert judged(proven(2), running(50, 9.0), min_trials=2).reason == "few"


def test_more_caution_spares_all_that_less_does() -> None:
    losses, final = predictive(np.random.default_rng(0), 30)
    trials = complete((losses + 0.2 * np.random.default_rng(1).standard_normal(losses.shape), final))

    def pruned(caution: float) -> set[float]:
        pruner = CorrelationPruner(caution=caution)
        at_50 = [float(loss) for loss in np.linspace(1.0, 2.6, 33)]
        return {loss for loss in at_50 if pruner.judge_among(trials, running(50, loss), 50).prune}

    assert pruned(4.0) < pruned(1.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 3.0), st.sampled_from([5, 25, 50, 90]))
def test_units_make_no_difference_and_maximising_is_minimising_mirrored(seed: int, loss: float, step: int) -> None:
    rng = np.random.default_rng(seed)
    losses, final = predictive(rng, 20)
    losses += rng.uniform(0, 0.5) * rng.standard_normal(losses.shape)

    def chance(change: Callable[[ndarray], ndarray], direction: Literal["minimize", "maximize"]) -> float | None:
        trials = complete((change(losses), change(final)))
        reports = running(step, float(change(np.array(loss))))
        return CorrelationPruner().judge(study_of(trials, direction), reports).place_chance

    plain = chance(lambda x: x, "minimize")
    assert chance(lambda x: 3 * x + 5, "minimize") == pytest.approx(plain)
    assert chance(lambda x: -x, "maximize") == pytest.approx(plain)


def test_diverged_trials_count_as_the_worst_and_decide_nothing() -> None:
    diverged = [trial("complete", {50: math.nan, 100: math.inf}, number=90 + i) for i in range(3)]
    for loss, prune in ((1.3, False), (2.0, True), (math.inf, True)):
        assert judged(proven() + diverged, running(50, loss)).prune == prune
    lost = complete((np.full((10, 19), math.nan), np.full(10, math.inf)))
    assert judged(lost, running(50, 1.0)).reason == "few"


def test_losses_that_are_all_alike_prune_no_trial() -> None:
    alike = complete((np.ones((30, 19)), np.random.default_rng(0).uniform(1, 2, 30)))
    assert not any(judged(alike, running(p, 1.0)).prune for p in STEPS)
    ended_alike = complete((np.ones((30, 19)), np.ones(30)))
    assert not any(judged(ended_alike, running(p, 1.0)).prune for p in STEPS)


def regret(make: Callable[[], BasePruner], budget: float = 10, studies: int = 8) -> float:
    """Mean regret of replayed studies that spend the same, on 300 runs whose losses settle as they go on."""
    rng = np.random.default_rng(0)
    final = rng.gamma(2.0, 0.2, 300) + 1
    noise = np.linspace(0.05, 0.02, 19) * rng.standard_normal((300, 19))
    losses, steps = final[:, None] + 1 + noise, tuple(range(1, 20))
    curves = CurveSet(name="made", steps=steps, last_step=20, loss=losses, final=final)
    return float(np.mean([replay(curves, make(), StudyLimit(budget=budget), s).regret for s in range(studies)]))


def test_equal_money_finds_better_runs_than_without_pruning_and_than_by_the_median() -> None:
    assert regret(CorrelationPruner) < 0.7 * min(regret(NopPruner), regret(MedianPruner))
