"""One replayed study: finished runs are replayed as trials, one at a time, under a pruner, and its pick is scored.

A study draws runs of a set at random. Each reports its recorded losses until the pruner stops it or it ends with its
final loss. The study's pick is the best run that ended.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.trial import TrialState

from search.replay.curves import CurveSet

MAX_BUDGET = 25.0
"""Largest default budget of a study, in full runs; for small sets it is a quarter of their runs."""
TOP_SHARE = 0.05
"""Share of the runs tried that count as the top."""


@dataclass(frozen=True, kw_only=True)
class StudyLimit:
    """The limit at which a study ends: a number of trials, or a budget."""

    trials: int | None = None
    budget: float = math.inf
    """Training, in full runs."""
    resampled: bool = False
    """Whether runs are drawn with replacement, so that no budget uses them up."""

    @property
    def fixed_trials(self) -> bool:
        """Whether trials are counted rather than what they cost."""
        return math.isinf(self.budget)


def study_limits(curves: CurveSet, trials: int, budget: float | None) -> tuple[StudyLimit, StudyLimit]:
    """Return both limits for a set: a number of trials, at most that of its runs; and a budget."""
    return (
        StudyLimit(trials=min(trials, curves.runs)),
        StudyLimit(budget=budget if budget is not None else min(MAX_BUDGET, curves.runs / 4)),
    )


@dataclass(frozen=True, kw_only=True)
class Score:
    """The score of one study. Regret and rank are against the runs drawn; under a budget, against the whole set."""

    cost: float
    """Mean training per trial, in full runs."""
    tried: int
    """Trials started."""
    regret: float
    """Final loss of the pick minus that of the best run."""
    relative_regret: float
    """Regret as a fraction of that of the median run."""
    rank: float
    """Fraction of runs that are better than the pick."""
    best_pruned: bool
    """Whether the best run tried was stopped."""
    top_pruned: float
    """Fraction that was stopped of the best 5% tried."""
    completed: float
    """Fraction of trials that ended."""


def replay(curves: CurveSet, pruner: BasePruner, limit: StudyLimit, seed: int) -> Score:
    """Return the score of one study; the seed draws its runs."""
    order = _draw(curves, limit, random.Random(seed))
    sampler = optuna.samplers.RandomSampler(seed=seed)
    study = optuna.create_study(study_name=f"r{seed}", pruner=pruner, sampler=sampler)
    cost, tried, ended = 0.0, [], []
    for run in order:
        if cost >= limit.budget:
            break
        spent = _try(study, curves, run)
        cost += 1.0 if spent is None else spent
        tried.append(run)
        if spent is None:
            ended.append(run)
    among = tried if limit.fixed_trials else range(curves.runs)
    return score(curves.final.tolist(), tried, ended, among, cost)


def _draw(curves: CurveSet, limit: StudyLimit, draw: random.Random) -> list[int]:
    """Return the runs in the order in which a study tries them: all, or as many as its limit could ever need."""
    if limit.resampled:
        most = math.ceil(limit.budget * curves.last_step / curves.steps[0]) + 1
        return draw.choices(range(curves.runs), k=most)
    return draw.sample(range(curves.runs), limit.trials if limit.trials is not None else curves.runs)


def _try(study: optuna.Study, curves: CurveSet, run: int) -> float | None:
    """Replay a run as one trial, and return the progress at which it was stopped, or None if it ended."""
    trial = study.ask()
    for step, loss in zip(curves.steps, curves.loss[run].tolist(), strict=True):
        if math.isnan(loss):
            continue
        trial.report(loss, step)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return step / curves.last_step
    trial.report(float(curves.final[run]), curves.last_step)
    study.tell(trial, float(curves.final[run]))
    return None


def score(
    final: Sequence[float], tried: Sequence[int], ended: Sequence[int], among: Sequence[int], cost: float
) -> Score:
    """Score a study by the final losses of its runs; if it let none end, its pick is the worst run that it tried."""
    completed, ranked = set(ended), sorted(tried, key=lambda run: final[run])
    reference = np.array([final[run] for run in among])
    pick = min((final[run] for run in ended), default=final[ranked[-1]])
    regret, span = pick - float(reference.min()), float(np.median(reference) - reference.min())
    top = ranked[: max(1, round(TOP_SHARE * len(tried)))]
    return Score(
        cost=cost / len(tried),
        tried=len(tried),
        regret=regret,
        relative_regret=regret / span if span > 0 else 0.0,
        rank=float(np.mean(reference < pick)),
        best_pruned=ranked[0] not in completed,
        top_pruned=float(np.mean([run not in completed for run in top])),
        completed=len(ended) / len(tried),
    )
