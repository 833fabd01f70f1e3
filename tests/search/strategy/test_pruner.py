import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray
from optuna.trial import FrozenTrial, TrialState
from scipy import stats

from search.strategy.pruner import RISK, CorrelationPruner, PruningDecision, drawn_as_control, earlier_sums
from tests.search.curves_made import STEPS, complete, predictive, running, study_of, trial


def proven(n: int = 30, seed: int = 0) -> list[FrozenTrial]:
    return complete(predictive(np.random.default_rng(seed), n))


def by_risk(**settings: Any) -> CorrelationPruner:
    chosen: dict[str, Any] = {"rule": RISK, "min_trials": 6} | settings
    return CorrelationPruner(**chosen)


def judged(trials: list[FrozenTrial], reports: FrozenTrial, **settings: Any) -> PruningDecision:
    return by_risk(**settings).judge(study_of(trials), reports)


def test_a_hopeless_trial_is_pruned_once_the_relation_is_proven() -> None:
    decision = judged(proven(), running(50, 2.4))
    assert (decision.prune, decision.reason) == (True, "hopeless")
    assert decision.proof is not None
    assert decision.chance is not None
    assert decision.proof > 0.95
    assert decision.chance < 0.06


def test_a_promising_trial_goes_on() -> None:
    decision = judged(proven(), running(50, 1.52))
    assert (decision.prune, decision.reason) == (False, "promising")


def test_what_would_be_hopeless_were_the_relation_certain_is_unproven() -> None:
    decision = judged(proven(6), running(50, 2.1), odds=1e-9)
    assert (decision.prune, decision.reason) == (False, "unproven")


@pytest.mark.parametrize(("step", "reason"), [(90, "hopeless"), (95, "late"), (100, "late")])
def test_nothing_is_pruned_at_the_last_report_before_the_end(step: int, reason: str) -> None:
    assert judged(proven(), running(step, 9.0)).reason == reason


@pytest.mark.parametrize(("finished", "reason"), [(0, "few"), (7, "few"), (8, "hopeless")])
def test_nothing_is_pruned_before_enough_trials_finished(finished: int, reason: str) -> None:
    assert judged(proven(8)[:finished], running(50, 9.0), min_trials=8).reason == reason


def test_a_trial_without_reports_goes_on_and_one_that_reports_nan_does_not() -> None:
    assert judged(proven(), trial("running", {}, number=99)).reason == "silent"
    assert judged([], running(5, math.nan)) == PruningDecision(True, "diverged")


def test_a_trial_judges_itself_by_others_only() -> None:
    trials = proven()
    for t in trials:
        alone = [o for o in trials if o.number != t.number]
        pruner = by_risk()
        assert pruner.judge_among(trials, t, 50) == pruner.judge_among(alone, t, 50)


def test_an_infinite_loss_is_behind_all_and_a_tie_is_no_worse_than_its_like() -> None:
    trials = proven()
    assert judged(trials, running(50, math.inf)).prune
    best = min(trials, key=lambda t: t.values[0])
    assert not judged(trials, running(50, best.intermediate_values[50])).prune


def test_losses_that_are_all_alike_prune_no_trial() -> None:
    alike = complete((np.ones((30, 19)), np.random.default_rng(0).uniform(1, 2, 30)))
    assert not any(judged(alike, running(p, 1.0)).prune for p in STEPS)
    ended_alike = complete((np.ones((30, 19)), np.ones(30)))
    assert not any(judged(ended_alike, running(p, 1.0)).prune for p in STEPS)


def test_divergence_prunes_no_trial_if_all_diverged() -> None:
    lost = complete((np.full((10, 19), math.nan), np.full(10, math.inf)))
    assert not any(judged(lost, running(p, math.inf)).prune for p in STEPS)
    assert not any(judged(lost, running(p, 1.0)).prune for p in STEPS)


def test_a_few_diverged_runs_change_no_decision_among_the_others() -> None:
    healthy, diverged = proven(), [trial("complete", {5: math.nan, 100: math.inf}, number=90 + i) for i in range(3)]
    for loss in (1.3, 1.5, 2.0, 2.4):
        assert judged(healthy + diverged, running(50, loss)).prune == judged(healthy, running(50, loss)).prune


def test_failed_trials_are_no_evidence() -> None:
    failed = [trial("fail", dict.fromkeys(STEPS, 0.1), number=90 + i) for i in range(20)]
    assert judged(proven() + failed, running(50, 1.9)) == judged(proven(), running(50, 1.9))


def test_running_trials_count_where_they_are_and_pruned_ones_further_on() -> None:
    """By hand: at 50%, ten trials that stand behind at 10% matter only where they were pruned there."""
    behind = {10: 9.0}
    still = [trial("running", behind, number=90 + i) for i in range(10)]
    gone = [trial("pruned", behind, number=90 + i) for i in range(10)]
    alone, with_still, with_gone = (
        judged(proven() + more, running(50, 1.9)).chance for more in (list[FrozenTrial](), still, gone)
    )
    assert alone == with_still
    assert alone is not None
    assert with_gone is not None
    assert with_gone > alone  # ten more are behind, so that it stands better among all


def test_trials_with_other_steps_are_read_at_their_last_report_before() -> None:
    odd = [
        trial("complete", {s + 1: loss for s, loss in t.intermediate_values.items()}, number=t.number) for t in proven()
    ]
    assert judged(odd, running(50, 2.4)).prune
    assert not judged(odd, running(50, 1.3)).prune
    assert judged(odd, running(5, 9.0)).reason == "few"  # no trial had reported by 5


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 3.0), st.sampled_from([5, 25, 50, 90]))
def test_only_order_matters_and_maximising_is_minimising_mirrored(seed: int, loss: float, step: int) -> None:
    rng = np.random.default_rng(seed)
    losses, final = predictive(rng, 20)
    losses += rng.uniform(0, 0.5) * rng.standard_normal(losses.shape)
    pruner = by_risk()

    def decision(change: Callable[[ndarray], ndarray], direction: Literal["minimize", "maximize"]) -> PruningDecision:
        trials = complete((change(losses), change(final)))
        return pruner.judge(study_of(trials, direction), running(step, float(change(np.array(loss)))))

    plain = decision(lambda x: x, "minimize")
    assert decision(np.exp, "minimize") == plain
    assert decision(lambda x: -x, "maximize") == plain


def test_a_bolder_risk_prunes_all_that_a_smaller_one_does() -> None:
    losses = np.linspace(1.0, 2.6, 33)
    bold, careful = ({x for x in losses if judged(proven(), running(50, float(x)), risk=r).prune} for r in (0.2, 0.02))
    assert careful < bold


def test_controls_go_on_and_are_drawn_beforehand() -> None:
    assert judged(proven(), running(50, 9.0, control=True)).reason == "control"
    drawn = [drawn_as_control("babylm", i, 0.1) for i in range(5000)]
    assert drawn == [drawn_as_control("babylm", i, 0.1) for i in range(5000)]
    assert drawn != [drawn_as_control("other", i, 0.1) for i in range(5000)]
    assert 0.085 < np.mean(drawn) < 0.115
    assert not any(drawn_as_control("babylm", i, 0.0) for i in range(100))
    assert all(drawn_as_control("babylm", i, 1.0) for i in range(100))


@pytest.mark.parametrize("odd", ["no", "yes", "", 1, 0, None, [True], {"control": False}, 1.0])
def test_a_control_attribute_that_is_neither_true_nor_false_decides_nothing(odd: object) -> None:
    assert judged(proven(), running(50, 9.0, control=odd), controls=0.0).reason == "hopeless"
    assert judged(proven(), running(50, 9.0, control=odd), controls=1.0).reason == "control"
    assert judged(proven(), running(50, 9.0, control=False), controls=1.0).reason == "hopeless"


def test_without_an_attribute_a_study_draws_its_controls_itself() -> None:
    hopeless = trial("running", {50: 9.0}, number=77)
    assert judged(proven(), hopeless, controls=1.0).reason == "control"
    assert judged(proven(), hopeless, controls=0.0).reason == "hopeless"


def test_a_primed_pruner_prunes_from_the_second_finished_trial_on() -> None:
    earlier = earlier_sums(proven(60, seed=1))
    primed, two = by_risk(earlier=earlier), proven(2)
    assert primed.judge(study_of(two[:1]), running(50, 9.0)).reason == "few"
    behind = [running(50, 2.0 + i / 100) for i in range(8)]
    for i, t in enumerate(behind):
        t.number = 50 + i
    assert primed.judge_among(two + behind, running(50, 9.0), 50).prune
    assert not primed.judge_among(two + behind, running(50, 1.1), 50).prune
    assert by_risk().judge_among(two + behind, running(50, 9.0), 50).reason == "few"


def test_earlier_sums_of_other_steps_change_nothing() -> None:
    odd = {step + 1: sums for step, sums in earlier_sums(proven(60, seed=1)).items()}
    for loss in (1.2, 1.8, 2.4):
        decision = by_risk(earlier=odd).judge(study_of(proven(10)), running(50, loss))
        assert decision == judged(proven(10), running(50, loss))


def test_earlier_sums_count_as_few_runs_however_many_there_were() -> None:
    sums_by_step = earlier_sums(proven(200), worth=8.0)
    assert set(sums_by_step) == set(STEPS[:-1])
    assert all(sums[0] == pytest.approx(8.0) for sums in sums_by_step.values())
    assert earlier_sums(proven(5), worth=8.0)[50][0] == 5.0  # no more than there were
    assert earlier_sums([]) == {}


def test_earlier_sums_of_a_study_that_maximises_are_those_of_its_mirror() -> None:
    losses, final = predictive(np.random.default_rng(0), 30)
    mirrored, plain = earlier_sums(complete((-losses, -final)), maximise=True), earlier_sums(complete((losses, final)))
    assert all(mirrored[step] == pytest.approx(plain[step]) for step in STEPS[:-1])


def test_the_relation_is_scipys_over_finished_trials() -> None:
    losses, final = predictive(np.random.default_rng(4), 25)
    losses += 0.4 * np.random.default_rng(5).standard_normal(losses.shape)
    more = [trial("pruned", {50: 0.1}, number=90), trial("complete", {50: math.nan, 100: 1.0}, number=91)]
    relation = CorrelationPruner().relation(complete((losses, final)) + more, 50)
    rho = stats.spearmanr(losses[:, STEPS.index(50)], final).statistic
    assert (relation.step, relation.n) == (50, 25)
    assert relation.correlation == pytest.approx(rho)
    assert -1 < relation.bound < rho
    assert 0.5 < relation.proof < 1


def test_without_finished_trials_there_is_no_relation() -> None:
    relation = CorrelationPruner().relation([running(50, 1.0)], 50)
    assert (relation.n, relation.correlation, relation.bound, relation.proof) == (0, 0.0, -1.0, 0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("caution", v) for v in (-0.1, math.nan)),
        ("places", 0),
        *(("risk", v) for v in (-0.1, 0.6, 2, math.nan)),
        *(("best", v) for v in (0, 0.6, math.nan)),
        *(("min_trials", v) for v in (0, 1, -5)),
        *(("odds", v) for v in (-1, math.nan)),
        *(("controls", v) for v in (-0.1, 1.1)),
    ],
)
def test_impossible_settings_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"`{name}` is {value}, but must be between .* and "):
        CorrelationPruner(**{name: value})  # type: ignore[arg-type]


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match='`rule` is "luck", but must be one of: worth, risk'):
        CorrelationPruner(rule="luck")


@pytest.mark.parametrize("odds", [0.0, math.inf])
def test_certainty_either_way_is_possible(odds: float) -> None:
    decision = judged(proven(), running(50, 2.4), odds=odds)
    assert decision.proof == pytest.approx(1.0 if odds else 0.0)


def test_works_in_a_plain_optuna_study() -> None:
    study = optuna.create_study(
        study_name="plain",
        pruner=CorrelationPruner(controls=0.0),
        sampler=optuna.samplers.RandomSampler(seed=0),
        direction="maximize",
    )

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        for step in STEPS:
            trial.report(x + step / 100, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return x

    study.optimize(objective, n_trials=60)
    states = [t.state for t in sorted(study.trials, key=lambda t: -t.params["x"])]
    assert states.count(TrialState.PRUNED) > 30
    assert states[:2] == [TrialState.COMPLETE] * 2


def test_a_study_of_several_objectives_is_refused() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    with pytest.raises(RuntimeError, match="multi-objective"):
        CorrelationPruner().judge(study, running(50, 1.0))
