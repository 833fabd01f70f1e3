"""Dunnett's test of several means against one control: the chance of the largest |t|, its quantile, seeds to tell.

Many comparisons find a difference in noise sooner or later. Dunnett's quantile holds for all of them together, at
95%, and knows that they share the control (Journal of the American Statistical Association 50, 1955); Holm's
correction would take them for unrelated, and gives no intervals. scipy.stats has the test, on random draws and after a
second's import: too slow for a command that only reads a study. This is the same double integral, tested against it.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from jaxtyping import Float
from numpy import ndarray

NORMAL = NormalDist()
MOST_SEEDS = 1000
"""Most seeds that are worth naming."""
MANY = 10_000
"""Seeds from which on the noise counts as known."""
_NODES = 32  # of Gauss and Hermite's rule over the control's mean
_STEPS = 80  # of the trapezoidal rule over the logarithm of the deviation
_HALVINGS = 26
_erf = np.vectorize(math.erf, otypes=[float])


def largest_t_chance(limit: float, control: int, groups: Sequence[int], degrees: int) -> float:
    """Return the chance that no group's |t| against the control is above the limit, if all means are equal.

    With z the control's standardised mean and s the estimated ÷ the true deviation, the groups are independent:
    E over z and s of the product over groups of Φ(b + a) − Φ(b − a), b = z √(n / n₀) and a = limit · s √(1 + n / n₀).

    Args:
        limit: largest |t| of a group: its difference from the control's mean in standard errors.
        control: runs of the control, n₀.
        groups: runs of each group, n.
        degrees: degrees of freedom of the deviation, pooled over all groups.

    """
    z, weights = _control_mean()
    s, density = _deviation(degrees)
    inside = np.ones((len(s), len(z)))
    for runs in set(groups):
        ratio = runs / control
        centre, half = z[None, :] * math.sqrt(ratio), limit * s[:, None] * math.sqrt(1 + ratio)
        upper, lower = ((centre + sign * half) / math.sqrt(2) for sign in (1, -1))
        inside *= ((_erf(upper) - _erf(lower)) / 2) ** groups.count(runs)
    return float(density @ inside @ weights)


@lru_cache(maxsize=1)
def _control_mean() -> tuple[Float[ndarray, " nodes"], Float[ndarray, " nodes"]]:
    """Return nodes and weights of a standard normal mean."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return nodes, weights / weights.sum()


@lru_cache(maxsize=64)
def _deviation(degrees: int) -> tuple[Float[ndarray, " steps"], Float[ndarray, " steps"]]:
    """Return values of √(χ² / degrees) and their weights; in its logarithm u the density is ∝ exp(ν (u − e²ᵘ / 2))."""
    reach = 8 / math.sqrt(2 * degrees)
    u = np.linspace(-reach - 25 / degrees, reach, _STEPS)
    logs = degrees * (u - np.exp(2 * u) / 2)
    weights = np.exp(logs - logs.max())
    return np.exp(u), weights / weights.sum()


@lru_cache(maxsize=256)
def dunnett_quantile(control: int, groups: tuple[int, ...], degrees: int, confidence: float = 0.95) -> float:
    """Return the half-width of all two-sided intervals of groups minus control together, in standard errors."""
    low, high = 0.0, 2.0
    while largest_t_chance(high, control, groups, degrees) < confidence:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if largest_t_chance(middle, control, groups, degrees) < confidence:
            low = middle
        else:
            high = middle
    return high


def seeds_against_control(
    gap: float, deviation: float, groups: int, control_share: int, *, confidence: float = 0.95, power: float = 0.8
) -> int | None:
    """Return how many seeds of each group tell a true gap from the control's with this power; None above `MOST_SEEDS`.

    n = (1 + 1/r) (d + z_power)² σ² / gap², the two-sample power formula (Chow, Shao & Wang, Sample Size Calculations
    in Clinical Research, section 3.2) with Dunnett's quantile d for the normal one, itself at the degrees of n seeds.

    Args:
        gap: difference of the means to tell, in the unit of the deviation.
        deviation: standard deviation from seed to seed.
        groups: groups that are compared with the control.
        control_share: seeds of the control for each of a group, r.
        confidence: that of all comparisons together.
        power: chance of telling this one gap.

    """
    if not gap:
        return None
    scale = math.sqrt(1 + 1 / control_share) * deviation / abs(gap)

    least = _seeds(scale, groups, control_share, MANY, confidence, power)
    if least > MOST_SEEDS:
        return None
    n = max(2, math.ceil(least))
    while _seeds(scale, groups, control_share, n, confidence, power) > n:  # few seeds also know less of their noise
        n += 1
    return n


def _seeds(scale: float, groups: int, control_share: int, n: int, confidence: float, power: float) -> float:
    """Return the formula's n, with the quantile at the degrees of freedom of this many seeds."""
    degrees = groups * (n - 1) + control_share * n - 1
    quantile = dunnett_quantile(control_share, (1,) * groups, degrees, confidence)
    return ((quantile + NORMAL.inv_cdf(power)) * scale) ** 2
