"""Trials of an Optuna study as arrays: reported and final losses, signed so that lower is better."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from optuna.trial import FrozenTrial, TrialState

from search.common.stats import Scores, normal_scores

Losses = Float[ndarray, " trials"]
GOOD_SHARE, MIN_GOOD = 0.25, 8
"""Share of all runs that count as good, and the least number of good ones, if that many have finished."""


@dataclass(frozen=True)
class ReportedLosses:
    """Losses of finished, pruned and running trials. Failed ones are left out: their cause isn't known here."""

    trials: Sequence[FrozenTrial]
    sign: float = 1.0
    """Factor on values; −1 if the study maximises."""
    _losses: dict[int, Losses] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def from_trials(cls, trials: Sequence[FrozenTrial], *, maximise: bool = False) -> "ReportedLosses":
        """Return the losses of the finished, pruned and running ones among these trials."""
        usable = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)]
        return cls(usable, -1.0 if maximise else 1.0)

    @cached_property
    def final(self) -> Losses:
        """Final losses; NaN for trials that were pruned or are running."""
        complete = TrialState.COMPLETE
        return np.array([self.sign * t.values[0] if t.state == complete else math.nan for t in self.trials])

    @cached_property
    def steps(self) -> list[int]:
        """All steps at which a finished trial reported, the last one being the end."""
        finished = [t.intermediate_values for t in self.trials if t.state == TrialState.COMPLETE]
        return sorted(set().union(*finished))

    def at(self, step: int) -> Losses:
        """Return each trial's loss at a step: infinity if it was pruned before or diverged, NaN if it isn't there yet.

        Trials pruned before were behind: without them, ranks at this step would flatter the others.
        """
        if step not in self._losses:
            self._losses[step] = np.array([self._loss(t, step) for t in self.trials], dtype=float)
        return self._losses[step]

    def scores_at(self, step: int) -> Scores:
        """Return the normal scores of the losses at a step; NaN for trials that aren't there yet."""
        losses = self.at(step)
        there = ~np.isnan(losses)
        scores = np.full(len(losses), math.nan)
        scores[there] = normal_scores(losses[there])
        return scores

    def _loss(self, trial: FrozenTrial, step: int) -> float:
        reports = trial.intermediate_values
        if step in reports:
            loss = self.sign * reports[step]
            return math.inf if math.isnan(loss) else loss
        if trial.state == TrialState.PRUNED and (not reports or max(reports) < step):
            return math.inf
        earlier = [s for s in reports if s < step]
        there = trial.state == TrialState.COMPLETE or len(earlier) < len(reports)
        return self._loss(trial, max(earlier)) if earlier and there else math.nan

    def pruned_at(self, step: int) -> list[int]:
        """Return the indices of the trials that were pruned at a step."""
        return [i for i, t in enumerate(self.trials) if t.state == TrialState.PRUNED and t.last_step == step]

    @cached_property
    def good(self) -> tuple[list[int], Scores]:
        """Indices of the best finished trials, `GOOD_SHARE` of all that ended, and their final scores.

        A pruned trial is ranked behind all finished ones.
        """
        ended = [i for i, t in enumerate(self.trials) if t.state.is_finished()]
        scores = dict(zip(ended, normal_scores(self.final[ended]), strict=True))
        finished = [i for i in np.argsort(self.final, kind="stable").tolist() if not math.isnan(self.final[i])]
        chosen = finished[: max(MIN_GOOD, round(GOOD_SHARE * len(ended)))]
        return chosen, np.array([scores[i] for i in chosen], dtype=float)

    @cached_property
    def has_ended(self) -> Bool[ndarray, " trials"]:
        """Whether each trial finished or was pruned."""
        return np.array([t.state.is_finished() for t in self.trials], dtype=bool)

    @property
    def ended(self) -> int:
        """Number of trials that finished or were pruned."""
        return int(self.has_ended.sum())

    @cached_property
    def last_steps(self) -> Float[ndarray, " trials"]:
        """Each trial's last step: that of a full run for finished ones, 0 before the first report."""
        end, complete = self.steps[-1], TrialState.COMPLETE
        return np.array([end if t.state == complete else min(t.last_step or 0, end) for t in self.trials], dtype=float)

    @property
    def spent(self) -> float:
        """Training that all trials have taken so far, in full runs."""
        return float(self.last_steps.sum() / self.steps[-1])

    @property
    def finished(self) -> int:
        """Number of trials that finished."""
        return int((~np.isnan(self.final)).sum())
