"""A study's short and long runs as one model: what it predicts for long runs, and where improvement is expected."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr

from search.strategy.encoding import Encoding
from search.strategy.sampler_history import CONFIGURATION_FAULTS, estimated_final, without_disasters
from search.strategy.two_budget_model import Runs, TwoBudgetModel
from search.study.space import Params, Space
from search.study.study import LinkedStudy
from search.study.trials import attributes_of, final_budget, trial_params

MAX_RUNS = 250
"""Runs that the model is fitted to at most: its cost grows with their third power."""
MIN_FINALS = 3
"""Complete proxies that the model needs."""


@dataclass(frozen=True)
class LongBpb:
    """What is predicted of a configuration's long runs."""

    mean: float
    deviation: float
    """Standard deviation of the mean, without a run's own noise."""


class JointModel:
    """Predictions of long BPB from the runs of a study so far.

    Args:
        space: what is searched.
        proxies: proxy trials, those under way included.
        long_runs: confirmation runs at the full budget, those queued or under way included.
        bounded: whether losses far behind are taken as less bad. That tells good ones apart, as a search must; but what
            is predicted then is too good, and too sure.

    """

    def __init__(
        self,
        space: Space,
        proxies: Sequence[FrozenTrial],
        long_runs: Sequence[FrozenTrial],
        *,
        bounded: bool = True,
    ) -> None:
        self.encoding = Encoding(space)
        short, long = _ended(proxies, space), _ended(long_runs, space)
        short = _most_telling(short)
        self._seen = [params for params, _ in [*short, *long]]
        losses = np.concatenate([_losses(short, bounded=bounded), _losses(long, bounded=bounded)])
        points = self.encoding.points(self._seen)
        self._fitted = TwoBudgetModel.fit(Runs(points=points, long=np.arange(len(losses)) >= len(short), bpb=losses))
        under_way = [(trial_params(t), False) for t in proxies if not t.state.is_finished() and _drawn(t, space)]
        under_way += [(_settings(t), True) for t in long_runs if not t.state.is_finished() and _drawn(t, space)]
        self._with_runs_under_way = self._fitted.believing(
            self.encoding.points([params for params, _ in under_way]), np.array([long for _, long in under_way], bool)
        )

    def predict(self, configurations: Sequence[Params]) -> list[LongBpb]:
        """Return what is predicted of each configuration."""
        mean, deviation = self._fitted.predict(self.encoding.points(configurations))
        return [LongBpb(float(m), float(d)) for m, d in zip(mean, deviation, strict=True)]

    def improvement(self, configurations: Sequence[Params]) -> Float[ndarray, " n"]:
        """Return by how much each is expected to improve on the best that is predicted of any run so far, in BPB.

        Jones, Schonlau & Welch, Journal of Global Optimization 13, 1998; runs under way are counted as done.
        """
        best = float(self._with_runs_under_way.predict(self.encoding.points(self._seen))[0].min())
        mean, deviation = self._with_runs_under_way.predict(self.encoding.points(configurations))
        z = (best - mean) / deviation
        below = ndtr(z)
        return np.asarray(deviation * (z * below + np.exp(-z * z / 2) / math.sqrt(2 * math.pi)))

    def choose(self, configurations: Sequence[Params], count: int) -> list[int]:
        """Return the indices of so many configurations, each with the most expected improvement after those before."""
        chosen: list[int] = []
        while len(chosen) < min(count, len(configurations)):
            gains = self.improvement(configurations)
            gains[chosen] = -math.inf
            chosen.append(int(np.argmax(gains)))
            point = self.encoding.points([configurations[chosen[-1]]])
            self._with_runs_under_way = self._with_runs_under_way.believing(point, np.array([True]))
        return chosen

    @property
    def long_noise(self) -> float:
        """Standard deviation of a long run's BPB from seed to seed."""
        return self._fitted.long_noise

    def best_seen(self, count: int) -> list[Params]:
        """Return the configurations, of those that ran, with the best predictions."""
        mean, _ = self._fitted.predict(self.encoding.points(self._seen))
        return [self._seen[i] for i in np.argsort(mean, kind="stable")[:count]]


def _drawn(trial: FrozenTrial, space: Space) -> bool:
    """Return whether a trial has parameters of the space alone; a baseline may set others, and is another network."""
    return bool(trial_params(trial)) and trial_params(trial).keys() <= space.parameters.keys()


def _ended(trials: Sequence[FrozenTrial], space: Space) -> list[tuple[Params, float]]:
    """Return the configuration and the BPB of each run that says something of it.

    A pruned one counts as the finished one that stood alike at the same report, one that failed by its own fault as
    the worst.
    """
    trials = [t for t in trials if _drawn(t, space)]
    finals = [t for t in trials if t.state == TrialState.COMPLETE and t.value is not None and math.isfinite(t.value)]
    if not finals:
        return []
    ended = [(_settings(t), float(t.value or 0.0)) for t in finals]
    for trial in trials:
        fault = trial.state == TrialState.FAIL and attributes_of(trial).failure in CONFIGURATION_FAULTS
        if fault or trial.state == TrialState.PRUNED:
            ended.append((_settings(trial), estimated_final(trial, finals)))
    return ended


def _settings(trial: FrozenTrial) -> Params:
    """Return the settings that a trial was trained with: a long run may have another learning rate than its proxy."""
    params, scale = trial_params(trial), attributes_of(trial).lr_scale
    return {**params, "max_lr": params["max_lr"] * scale} if scale != 1 and "max_lr" in params else params


def _most_telling(runs: list[tuple[Params, float]]) -> list[tuple[Params, float]]:
    """Return all runs, or so many that the model stays quick: the better half of them, and others evenly."""
    if len(runs) <= MAX_RUNS:
        return runs
    ranked = sorted(runs, key=lambda run: run[1])
    best, rest = ranked[: MAX_RUNS // 2], ranked[MAX_RUNS // 2 :]
    stride = len(rest) / (MAX_RUNS - len(best))
    return best + [rest[int(i * stride)] for i in range(MAX_RUNS - len(best))]


def _losses(runs: Sequence[tuple[Mapping[str, Any], float]], *, bounded: bool) -> Float[ndarray, " n"]:
    losses = np.array([loss for _, loss in runs], dtype=float)
    return without_disasters(losses) if bounded else losses


def can_learn(proxies: Sequence[FrozenTrial]) -> bool:
    """Return whether enough proxies have ended for the model to be fitted."""
    return sum(t.state == TrialState.COMPLETE for t in proxies) >= MIN_FINALS


def full_budget_runs(study: LinkedStudy) -> list[FrozenTrial]:
    """Return a study's confirmation runs at the full budget, rungs left out."""
    return [r for r in study.confirm_trials() if final_budget(study.plan, r)]
