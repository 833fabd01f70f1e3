"""What a learning sampler is told of a study: every trial as it should count, which is not always its state."""

import math
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from search.study.space import Params, Space
from search.study.trials import attributes_of, given_to

FAULTS = ("diverged", "out_of_memory")
"""Causes of failure that say something about the configuration: as bad as any."""


def lesson_for(kind: str, trials: Sequence[FrozenTrial], space: Space) -> list[FrozenTrial]:
    """Return the trials as a learning sampler should see them.

    TPE ranks pruned trials after all complete ones, by how far they came and how they stood; one that failed by
    its own fault comes last. A Gaussian process knows complete trials only: there a pruned one counts as the
    complete one that stood alike at the same step, and a fault as the worst of them.
    """
    finals = [t for t in trials if _final(t) is not None]
    distributions = {name: parameter.distribution() for name, parameter in space.parameters.items()}
    told = (_as_told(kind, trial, finals, distributions) for trial in trials if given_to(trial))
    return [t for t in told if t is not None]


def _as_told(
    kind: str, trial: FrozenTrial, finals: Sequence[FrozenTrial], distributions: dict[str, BaseDistribution]
) -> FrozenTrial | None:
    params = given_to(trial)
    searched = {name: distributions[name] for name in params}
    if not trial.state.is_finished():
        return _Told(params, searched, TrialState.RUNNING)
    if _final(trial) is not None:
        return _Told(params, searched, TrialState.COMPLETE, trial.value)
    if trial.state == TrialState.FAIL and attributes_of(trial).failure not in FAULTS:
        return None
    if kind != "gp":
        return _Told(params, searched, TrialState.PRUNED, None, _last_report(trial))
    return _Told(params, searched, TrialState.COMPLETE, _standing(trial, finals)) if finals else None


class _Told(FrozenTrial):
    """A trial of a lesson, which is made anew for every draw: storing it needs no copy of it."""

    def __init__(
        self,
        params: Params,
        distributions: dict[str, BaseDistribution],
        state: TrialState,
        value: float | None = None,
        reports: dict[int, float] | None = None,
    ) -> None:
        now = datetime.now()
        super().__init__(
            number=-1,
            trial_id=-1,
            state=state,
            value=value,
            params=params,
            distributions=distributions,
            intermediate_values=reports or {},
            datetime_start=now,
            datetime_complete=now if state.is_finished() else None,
            user_attrs={},
            system_attrs={},
        )

    def __deepcopy__(self, memo: object) -> "_Told":
        return self


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
