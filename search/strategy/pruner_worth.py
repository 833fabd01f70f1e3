"""What a trial may still win for the rest of its cost, and what new trials would win for as much.

A trial is pruned to make room for new ones, so the two are compared at equal cost, by their chance of ending better
than the best finished trial so far:

- The trial's chance: final losses of finished trials are described by a line of their losses at the same report,
  `final = a + b · loss` plus noise, and the chance is the tail of the predictive Student t (Gelman et al., Bayesian
  Data Analysis, ch. 14). Trials are pruned for their losses so far and nothing else, so that pruned ones, whose ends
  are missing, don't bias a prediction from the loss so far (missing at random: Rubin, Biometrika 63, 1976).
- New trials' chance: where trials come in no particular order, the best of all that C and a further c of training buy
  is among the further ones with the chance c / (C + c), as every order is equally likely (records: Rényi, 1962).

Losses behind 90% of the finished trials count as if at that place: neither divergence nor how bad the bad ones are
says anything of the best.
"""

import math
from dataclasses import dataclass

import numpy as np

from search.common.student import student_cdf
from search.strategy.reported_losses import Losses, ReportedLosses

SLOPE, SLOPE_WEIGHT = 1.0, 8.0
"""Prior slope of the line, with the weight of so many trials: differences in loss persist until the end."""
WORST_SHARE = 0.1
"""Share of the finished trials, the worst, whose losses all count alike."""
MIN_FINISHED = 3
"""Fewest finished trials that give a line and its noise."""


@dataclass(frozen=True)
class Worth:
    """Two chances of ending better than the best finished trial, for the same cost."""

    chance: float
    """The trial's own, if it goes on."""
    new_trials: float
    """That of new trials which cost as much as the rest of this one."""


def worth_of(runs: ReportedLosses, step: int, loss: float) -> Worth | None:
    """Return the worth of a trial that has this loss at a step, beside the other trials.

    None if fewer than three finished trials have a finite loss at the step and at their end.
    """
    losses, final = runs.at(step), runs.final
    there = ~(np.isnan(losses) | np.isnan(final))
    if (np.isfinite(losses) & np.isfinite(final)).sum() < MIN_FINISHED:
        return None
    chance = chance_of_best(_capped(losses[there]), _capped(final[there]), loss)
    rest = _expected_rest(runs, step)
    return Worth(chance, rest / (runs.spent + rest))


def chance_of_best(losses: Losses, final: Losses, loss: float) -> float:
    """Return the chance that a trial with this loss ends below all these final losses, by a line of theirs.

    The line's slope is the least-squares one, averaged with `SLOPE` in the proportion of n to `SLOPE_WEIGHT`.
    """
    if math.isinf(loss):
        return float(loss < 0)
    n, x, y = len(losses), losses - losses.mean(), final - final.mean()
    spread = float(x @ x)
    slope = (float(x @ y) + SLOPE_WEIGHT * SLOPE * spread / n) / (spread + SLOPE_WEIGHT * spread / n) if spread else 0.0
    off = y - slope * x
    distance = loss - float(losses.mean())
    leverage = distance**2 / (spread * (1 + SLOPE_WEIGHT / n)) if spread else 0.0
    scale = math.sqrt(float(off @ off) / (n - 1) * (1 + 1 / n + leverage))
    ahead = float(final.min() - final.mean()) - slope * distance
    return student_cdf(n - 1, ahead / scale) if scale else float(ahead >= 0)


def _capped(losses: Losses) -> Losses:
    """Return the losses, none of them beyond that of the first of the worst tenth, nor of the last finite one."""
    cap = np.quantile(losses, 1 - WORST_SHARE, method="lower")
    if cap == losses.min():  # most are equal: what is behind the middle counts alike
        cap = np.quantile(losses, 0.5, method="higher")
    return np.asarray(np.minimum(losses, min(cap, losses[np.isfinite(losses)].max())), dtype=float)


def _expected_rest(runs: ReportedLosses, step: int) -> float:
    """Return the mean cost, in full runs, that trials which went on from a step still had; a whole rest if none did."""
    further = runs.last_steps[runs.has_ended] - step
    further = further[further > 0]
    return float(further.mean() if len(further) else runs.steps[-1] - step) / runs.steps[-1]
