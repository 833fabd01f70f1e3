"""What a learning sampler is told of a study: every trial as it should count, which is not always its state."""

import math
from collections.abc import Sequence

import numpy as np
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.space import Params, Space

FAULTS = ("diverged", "infeasible")
"""Causes of failure that say something about the configuration: as bad as any."""


def given_to(trial: FrozenTrial) -> Params:
    """Return a trial's parameters, those included that wait to be set."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def lesson_for(kind: str, trials: Sequence[FrozenTrial], space: Space) -> list[FrozenTrial]:
    """Return the trials as a learning sampler should see them.

    TPE ranks pruned trials after all complete ones, by how far they came and how they stood; one that failed by
    its own fault comes last. A Gaussian process knows complete trials only: there a pruned one counts as the
    complete one that stood alike at the same step, and a fault as the worst of them.
    """
    finals = [t for t in trials if _final(t) is not None]
    told = (_as_told(kind, trial, finals, space) for trial in trials if given_to(trial))
    return [t for t in told if t is not None]


def _as_told(kind: str, trial: FrozenTrial, finals: Sequence[FrozenTrial], space: Space) -> FrozenTrial | None:
    params = given_to(trial)
    if not trial.state.is_finished():
        return _told(space, params, TrialState.RUNNING)
    if _final(trial) is not None:
        return _told(space, params, TrialState.COMPLETE, trial.value)
    if trial.state == TrialState.FAIL and trial.user_attrs.get("failure") not in FAULTS:
        return None
    if kind != "gp":
        return _told(space, params, TrialState.PRUNED, reports=_last_report(trial))
    return _told(space, params, TrialState.COMPLETE, _standing(trial, finals)) if finals else None


def _final(trial: FrozenTrial) -> float | None:
    complete = trial.state == TrialState.COMPLETE and trial.value is not None and math.isfinite(trial.value)
    return trial.value if complete else None


def _last_report(trial: FrozenTrial) -> dict[int, float]:
    """Return the last report of a pruned trial; whatever else ended early counts as if it had never reported."""
    step = trial.last_step if trial.state == TrialState.PRUNED else None
    return {} if step is None else {step: trial.intermediate_values[step]}


def _standing(trial: FrozenTrial, finals: Sequence[FrozenTrial]) -> float:
    """Return the final value of whoever stood at a trial's last step as it did; without one, the worst of all."""
    for step, loss in _last_report(trial).items():
        reached = [t for t in finals if step in t.intermediate_values]
        if reached and math.isfinite(loss):
            losses = sorted(t.intermediate_values[step] for t in reached)
            return float(np.interp(loss, losses, sorted(t.value or 0.0 for t in reached)))
    return max(t.value or 0.0 for t in finals)


def _told(
    space: Space, params: Params, state: TrialState, value: float | None = None, reports: dict[int, float] | None = None
) -> FrozenTrial:
    distributions = {name: space.parameters[name].distribution() for name in params}
    return create_trial(
        state=state, value=value, params=params, distributions=distributions, intermediate_values=reports
    )
