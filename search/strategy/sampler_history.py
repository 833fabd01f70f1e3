"""The trials that a learning sampler learns from, each with the state and value that it should count with."""

import math
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from search.study.space import Params, Space
from search.study.trials import attributes_of, trial_params

CONFIGURATION_FAULTS = ("diverged", "out_of_memory")
"""Causes of failure that are the configuration's own: such a trial counts as the worst."""


def sampler_history(kind: str, trials: Sequence[FrozenTrial], space: Space) -> list[FrozenTrial]:
    """Return the trials as a learning sampler should see them; `kind` is tpe or gp.

    TPE ranks pruned trials after all complete ones, by their last step and the loss there; one that failed by its
    own fault comes last. A Gaussian process takes complete trials only: a pruned trial gets the final value of a
    complete one with the same loss at the same step, and one that failed by its own fault the worst final value; no
    value is further behind the median than the best is ahead of it (`without_disasters`).
    """
    finals = [t for t in trials if _final(t) is not None]
    distributions = {name: parameter.distribution() for name, parameter in space.parameters.items()}
    history = (_history_trial(kind, trial, finals, space, distributions) for trial in trials if trial_params(trial))
    told = [t for t in history if t is not None]
    return _without_disasters(told) if kind == "gp" else told


def without_disasters(losses: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """Return losses none of which is further behind the median than the best is ahead of it.

    One run far behind would set the scale for all others, and a model would see no difference among the good ones.
    """
    if len(losses) == 0:
        return losses
    middle = float(np.median(losses))
    return np.asarray(np.minimum(losses, middle + (middle - float(np.min(losses)))))


def searched_params(trial: FrozenTrial, space: Space) -> Params:
    """Return a trial's searched settings: a baseline's own ones have no place in the space."""
    parameters = space.parameters
    return {name: v for name, v in trial_params(trial).items() if name in parameters and parameters[name].holds(v)}


def _history_trial(
    kind: str,
    trial: FrozenTrial,
    finals: Sequence[FrozenTrial],
    space: Space,
    distributions: dict[str, BaseDistribution],
) -> FrozenTrial | None:
    params = searched_params(trial, space)
    searched = {name: distributions[name] for name in params}
    if not trial.state.is_finished():
        return _HistoryTrial(params, searched, TrialState.RUNNING)
    if _final(trial) is not None:
        return _HistoryTrial(params, searched, TrialState.COMPLETE, trial.value)
    if trial.state == TrialState.FAIL and attributes_of(trial).failure not in CONFIGURATION_FAULTS:
        return None
    if kind != "gp":
        return _HistoryTrial(params, searched, TrialState.PRUNED, None, _last_report(trial))
    return _HistoryTrial(params, searched, TrialState.COMPLETE, estimated_final(trial, finals)) if finals else None


def _without_disasters(history: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the history with the final losses of its complete trials bounded."""
    complete = [t for t in history if t.state == TrialState.COMPLETE]
    bounded = iter(without_disasters(np.array([t.value for t in complete], dtype=float)))
    return [
        _HistoryTrial(t.params, t.distributions, t.state, float(next(bounded))) if t.state == TrialState.COMPLETE else t
        for t in history
    ]


class _HistoryTrial(FrozenTrial):
    """A trial of the history, which is built for each draw: Optuna's storage needs no deep copy of it."""

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

    def __deepcopy__(self, memo: object) -> "_HistoryTrial":
        return self


def _final(trial: FrozenTrial) -> float | None:
    complete = trial.state == TrialState.COMPLETE and trial.value is not None and math.isfinite(trial.value)
    return trial.value if complete else None


def _last_report(trial: FrozenTrial) -> dict[int, float]:
    """Return the last report of a pruned trial; any other trial counts as if it had never reported."""
    step = trial.last_step if trial.state == TrialState.PRUNED else None
    return {} if step is None else {step: trial.intermediate_values[step]}


def estimated_final(trial: FrozenTrial, finals: Sequence[FrozenTrial]) -> float:
    """Return the final value of complete trials with this trial's loss at its last step; else the worst of all."""
    for step, loss in _last_report(trial).items():
        reached = [t for t in finals if step in t.intermediate_values]
        if reached and math.isfinite(loss):
            losses = sorted(t.intermediate_values[step] for t in reached)
            return float(np.interp(loss, losses, sorted(t.value or 0.0 for t in reached)))
    return max(t.value or 0.0 for t in finals)
