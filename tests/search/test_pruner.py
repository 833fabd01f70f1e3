import math

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.pruner import CorrelationPruner, drawn_as_control

STEPS = range(5, 101, 5)


def study_of(curves: np.ndarray, states: list[TrialState] | None = None) -> optuna.Study:
    """A study whose finished trials reported these curves (n_trials × 20), the last report being the value."""
    study = optuna.create_study(study_name="pruner")
    for i, curve in enumerate(curves):
        state = states[i] if states else TrialState.COMPLETE
        reports = dict(zip(STEPS, map(float, curve), strict=False))
        study.add_trial(create_trial(state=state, value=float(curve[-1]), intermediate_values=reports))
    return study


def running(reports: dict[int, float], control: bool = False) -> FrozenTrial:
    trial = create_trial(state=TrialState.RUNNING, intermediate_values=reports, user_attrs={"control": control})
    trial.number = 10_000
    return trial


def foretelling(n: int = 30, noise: float = 0.01) -> np.ndarray:
    rng = np.random.default_rng(0)
    final = rng.uniform(1, 2, (n, 1))
    return final + (1 - np.arange(1, 21) / 20) + noise * rng.standard_normal((n, 20))


def test_prunes_a_hopeless_trial_once_the_relation_is_proven() -> None:
    study = study_of(foretelling())
    verdict = CorrelationPruner().judge(study, running({50: 2.4}))
    assert verdict.prune
    assert verdict.reason == "hopeless"
    assert verdict.bound is not None
    assert verdict.bound > 0.9


def test_keeps_a_promising_trial() -> None:
    verdict = CorrelationPruner().judge(study_of(foretelling()), running({50: 1.52}))
    assert (verdict.prune, verdict.reason) == (False, "promising")


def test_keeps_controls_and_the_silent() -> None:
    study = study_of(foretelling())
    assert CorrelationPruner().judge(study, running({50: 9.0}, control=True)).reason == "control"
    assert CorrelationPruner().judge(study, running({})).reason == "silent"


def test_prunes_nothing_before_enough_trials_finished() -> None:
    assert CorrelationPruner(min_trials=8).judge(study_of(foretelling(7)), running({50: 9.0})).reason == "few"


def test_prunes_nothing_where_losses_foretell_nothing() -> None:
    """Six-minute scores that say nothing of the end: the case this pruner exists for."""
    rng = np.random.default_rng(3)
    unrelated = rng.uniform(1, 2, (60, 20))
    study = study_of(unrelated)
    assert not any(CorrelationPruner().judge(study, running({p: 99.0})).prune for p in STEPS[:-1])


def test_diverged_and_pruned_trials_rank_behind_and_do_no_harm() -> None:
    curves = foretelling()
    curves[3, :] = math.nan
    states = [TrialState.COMPLETE] * 30
    states[3], states[4] = TrialState.FAIL, TrialState.PRUNED
    study = optuna.create_study(study_name="pruner")
    for i, curve in enumerate(curves):
        reports = dict(zip(STEPS, map(float, curve), strict=False))
        value = None if states[i] == TrialState.FAIL else float(curve[-1])
        study.add_trial(create_trial(state=states[i], value=value, intermediate_values=reports))
    pruner = CorrelationPruner()
    assert pruner.relation(study.get_trials(), 50).n == 28
    assert pruner.judge(study, running({50: math.nan})).prune
    assert not pruner.judge(study, running({50: 1.5})).prune


def test_rarely_loses_a_best_trial_over_all_looks() -> None:
    """Property: over simulated studies, trials among the best five are pruned far less often than `risk`."""
    rng = np.random.default_rng(7)
    lost = best = 0
    for _ in range(20):
        curves = foretelling(40, noise=0.15) + 0.1 * rng.standard_normal((40, 20))
        study = study_of(curves[:30])
        pruner = CorrelationPruner(risk=0.05, looks=19)
        limit = np.sort(curves[:, -1])[4]
        for curve in curves[30:]:
            if curve[-1] > limit:
                continue
            best += 1
            reports: dict[int, float] = {}
            for step, loss in zip(list(STEPS)[:-1], curve, strict=False):
                reports[step] = float(loss)
                if pruner.judge(study, running(reports)).prune:
                    lost += 1
                    break
    assert best > 10
    assert lost / best <= 0.1


def test_controls_are_the_asked_fraction_and_fixed_beforehand() -> None:
    drawn = [drawn_as_control("babylm", i, 0.1) for i in range(5000)]
    assert drawn == [drawn_as_control("babylm", i, 0.1) for i in range(5000)]
    assert 0.085 < np.mean(drawn) < 0.115
    assert not any(drawn_as_control("babylm", i, 0.0) for i in range(100))


def test_works_as_a_plain_optuna_pruner() -> None:
    study = optuna.create_study(pruner=CorrelationPruner(promote=2, min_trials=5, controls=0.0))

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        for step in STEPS:
            trial.report(x + 1 - step / 100, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return x

    study.sampler = optuna.samplers.RandomSampler(seed=0)
    study.optimize(objective, n_trials=60)
    pruned = study.get_trials(states=[TrialState.PRUNED])
    assert 10 < len(pruned) < 55
    best_two = sorted(study.get_trials(deepcopy=False), key=lambda t: t.params["x"])[:2]
    assert all(t.state == TrialState.COMPLETE for t in best_two)


@pytest.mark.parametrize(("name", "value"), [("risk", 2), ("promote", 0), ("min_trials", 1), ("controls", -0.1)])
def test_impossible_settings_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"`{name}` is"):
        CorrelationPruner(**{name: value})  # type: ignore[arg-type]
