"""What a trial may still win for the rest of its cost, and what new trials would win for as much.

A trial is pruned to make room for new ones, so the two are compared at equal cost, by the places among the best k
finished trials that they may take. k is the number of trials that something will be made of: 1 if the best is all that
counts, as many as are promoted if they are confirmed.

- The trial's chance: final losses of finished trials are described by a line of their losses at the same report,
  `final = a + b · loss` plus noise, and the chance is the tail of the predictive Student t (Gelman et al., Bayesian
  Data Analysis, ch. 14). Trials are pruned for their losses so far and nothing else, so that pruned ones, whose ends
  are missing, don't bias a prediction from the loss so far (missing at random: Rubin, Biometrika 63, 1976).
- New trials' places: where trials come in no particular order, of the best k that C and a further c of training buy
  k · c / (C + c) are among the further ones on average, as every order is equally likely (records: Rényi, 1962).

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
    """What a trial and new ones may win for the same cost: places among the best finished trials."""

    chance: float
    """Chance that the trial takes such a place, if it goes on."""
    new_places: float
    """Expected number of places that new trials take which cost as much as the rest of this one."""


def worth_of(runs: ReportedLosses, step: int, loss: float, places: int = 1) -> Worth | None:
    """Return the worth of a trial that has this loss at a step, beside the other trials.

    None if no more trials have finished than there are places, or fewer than three have a finite loss at the step and
    at their end.
    """
    losses, final = runs.at(step), runs.final
    there = ~(np.isnan(losses) | np.isnan(final))
    if (np.isfinite(losses) & np.isfinite(final)).sum() < MIN_FINISHED or there.sum() <= places:
        return None
    chance = chance_of_place(_capped(losses[there]), _capped(final[there]), loss, places)
    rest = _expected_rest(runs, step)
    return Worth(chance, places * rest / (runs.spent + rest))


def chance_of_place(losses: Losses, final: Losses, loss: float, places: int = 1) -> float:
    """Return the chance that a trial with this loss ends below the last of these final losses that has a place.

    It is by the line of the final losses. Its slope is the least-squares one, averaged with
    `SLOPE` in the proportion of n to `SLOPE_WEIGHT`.
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
    ahead = float(np.partition(y, places - 1)[places - 1]) - slope * distance
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
