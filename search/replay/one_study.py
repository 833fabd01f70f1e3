"""One replayed study: finished runs are tried again, one at a time, under a pruner, and its choice is scored.

A study draws runs of a set at random. Each reports what it reported when it was recorded, until the pruner stops it
or it ends with its true final loss. The study's pick is the best run that ended.
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

MOST_BUDGET = 25.0
"""Full runs that a study may cost by default; a quarter of the set's runs where these are fewer."""
TOP = 0.05


@dataclass(frozen=True, kw_only=True)
class Setting:
    """When a study ends: after a number of trials, or, where there is a budget, once that is spent."""

    trials: int | None = None
    budget: float = math.inf
    """In full runs' worth of training."""

    @property
    def fixed_trials(self) -> bool:
        """Whether trials are counted rather than what they cost."""
        return math.isinf(self.budget)


def settings(curves: CurveSet, trials: int, budget: float | None) -> tuple[Setting, Setting]:
    """Return both settings for a set: as many trials as it has, at most; and a budget."""
    return (
        Setting(trials=min(trials, curves.runs)),
        Setting(budget=budget if budget is not None else min(MOST_BUDGET, curves.runs / 4)),
    )


@dataclass(frozen=True, kw_only=True)
class Score:
    """What came of one study. Regret and rank are against the runs drawn, or against the whole set under a budget."""

    cost: float
    """Training spent per trial, in full runs."""
    tried: int
    """Trials started."""
    regret: float
    """Final loss of the pick above the best one's."""
    relative_regret: float
    """The same, as a fraction of what the median run's is above the best one's."""
    rank: float
    """Fraction of runs that are better than the pick."""
    best_pruned: bool
    """Whether the best run tried was stopped."""
    top_pruned: float
    """Fraction that was stopped of the best 5% tried."""
    completed: float
    """Fraction of trials that ended."""


def replay(curves: CurveSet, pruner: BasePruner, setting: Setting, seed: int) -> Score:
    """Return the score of one study; the seed draws its runs."""
    count = setting.trials if setting.trials is not None else curves.runs
    order = random.Random(seed).sample(range(curves.runs), count)
    sampler = optuna.samplers.RandomSampler(seed=seed)
    study = optuna.create_study(study_name=f"r{seed}", pruner=pruner, sampler=sampler)
    cost, tried, ended = 0.0, [], []
    for run in order:
        if cost >= setting.budget:
            break
        spent = _try(study, curves, run)
        cost += 1.0 if spent is None else spent
        tried.append(run)
        if spent is None:
            ended.append(run)
    among = tried if setting.fixed_trials else range(curves.runs)
    return score(curves.final.tolist(), tried, ended, among, cost)


def _try(study: optuna.Study, curves: CurveSet, run: int) -> float | None:
    """Let a run report as one trial; return the progress at which it was stopped, or None where it ended."""
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
    """Score a study by the final losses of its runs; one that let none end is taken to pick the worst it tried."""
    kept, ranked = set(ended), sorted(tried, key=lambda run: final[run])
    reference = np.array([final[run] for run in among])
    pick = min((final[run] for run in ended), default=final[ranked[-1]])
    regret, span = pick - float(reference.min()), float(np.median(reference) - reference.min())
    top = ranked[: max(1, round(TOP * len(tried)))]
    return Score(
        cost=cost / len(tried),
        tried=len(tried),
        regret=regret,
        relative_regret=regret / span if span > 0 else 0.0,
        rank=float(np.mean(reference < pick)),
        best_pruned=ranked[0] not in kept,
        top_pruned=float(np.mean([run not in kept for run in top])),
        completed=len(ended) / len(tried),
    )
