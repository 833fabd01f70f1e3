"""Predictions of the candidates' long BPB, by the model of both budgets, kept with the study as its long runs end."""

import math
from collections.abc import Mapping, Sequence

from optuna.trial import FrozenTrial, TrialState

from search.strategy.entrants import distinct_configurations, entrant_of
from search.strategy.joint import JointModel, can_learn, full_budget_runs
from search.study.predictions import (
    MIN_LONG_RUNS,
    MIN_PROXIES,
    PREDICTIONS,
    Prediction,
    Predictions,
    stored_predictions,
)
from search.study.space import Params, Space
from search.study.study import LinkedStudy
from search.study.trials import label, trial_params

DEVIATIONS = 2.353
"""Half of a 90% interval in standard deviations: Student's t with 3 degrees, for the tails of real runs.

A normal's 1.645 covered 83% of what came out on the table of real trainings, this 91% (docs/measurements.md).
"""
MOST_OTHERS = 10
"""Proxies outside the race whose predictions are kept: those of which the most is expected."""
PROXIES_APART = 5
"""Further proxies after which predictions are made anew even if no long run has ended."""


def update_predictions(study: LinkedStudy) -> None:
    """Store what is predicted of each candidate's first long run, if runs have ended since that was done last.

    Of a candidate whose long run has ended, what was predicted before stays, to be compared. Call it with the lock
    under which the race is decided.
    """
    proxies, runs = study.proxy_trials(), full_budget_runs(study)
    stored = stored_predictions(study.confirm_attributes())
    short, long = (sum(t.state.is_finished() for t in trials) for trials in (proxies, runs))
    if not enough_to_predict(proxies, runs) or _are_current(stored, short, long):
        return
    predicted = _predictions(study, proxies, runs)
    earlier = {key: stored.by_candidate[key] for key in _ended_candidates(runs) & stored.by_candidate.keys()}
    new = Predictions(by_candidate={**earlier, **predicted}, proxies=short, long_runs=long)
    study.confirmations.set_user_attr(PREDICTIONS, new.table())


def enough_to_predict(proxies: Sequence[FrozenTrial], runs: Sequence[FrozenTrial]) -> bool:
    """Return whether enough runs of both budgets have ended for predictions that mean something."""
    long = sum(run.state == TrialState.COMPLETE for run in runs)
    return can_learn(proxies) and sum(t.state.is_finished() for t in proxies) >= MIN_PROXIES and long >= MIN_LONG_RUNS


def predicted_runs(
    space: Space, proxies: Sequence[FrozenTrial], runs: Sequence[FrozenTrial], candidates: Sequence[Params]
) -> list[Prediction]:
    """Return what is predicted of a long run of each of these configurations, given all runs so far."""
    model = JointModel(space, proxies, runs, bounded=False)
    known = sum(run.state == TrialState.COMPLETE for run in runs)
    return [
        Prediction(bpb=p.mean, half_width=DEVIATIONS * math.hypot(p.deviation, model.long_noise), long_runs=known)
        for p in model.predict(candidates)
    ]


def _predictions(
    study: LinkedStudy, proxies: Sequence[FrozenTrial], runs: Sequence[FrozenTrial]
) -> Mapping[str, Prediction]:
    """Return the predictions by key, of the race's candidates and of the proxies outside it that promise most."""
    racing, others = _candidates(study, proxies, runs)
    if not racing and not others:
        return {}
    predicted = predicted_runs(study.plan.space, proxies, runs, [*racing.values(), *others.values()])
    by_key = dict(zip([*racing, *others], predicted, strict=True))
    best = sorted(others, key=lambda key: by_key[key].bpb)[:MOST_OTHERS]
    return {key: by_key[key] for key in [*racing, *best]}


def _candidates(
    study: LinkedStudy, proxies: Sequence[FrozenTrial], runs: Sequence[FrozenTrial]
) -> tuple[dict[str, Params], dict[str, Params]]:
    """Return the settings of candidates that wait for the end of their first long run, and of proxies that have none.

    A baseline may set more than is searched, and a factor on the learning rate is none of the proxy's settings: neither
    is predicted.
    """
    ended, space = _ended_candidates(runs), study.plan.space.parameters.keys()
    entrants = {e.key: e for e in map(entrant_of, runs)}
    racing = {
        key: dict(e.params)
        for key, e in entrants.items()
        if key not in ended and e.lr_scale == 1 and e.params.keys() <= space
    }
    distinct = {label(None, t.number, 1.0): trial_params(t) for t in distinct_configurations(proxies)}
    return racing, {key: params for key, params in distinct.items() if key not in entrants}


def _ended_candidates(runs: Sequence[FrozenTrial]) -> set[str]:
    return {entrant_of(run).key for run in runs if run.state.is_finished()}


def _are_current(stored: Predictions, proxies: int, long_runs: int) -> bool:
    return long_runs == stored.long_runs and proxies < stored.proxies + PROXIES_APART
