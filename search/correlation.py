"""How well a loss so far foretells the final loss: pure functions of numbers, lower being better throughout."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import stats

Numbers = Sequence[float] | Float[ndarray, " n"]


def spearman(x: Numbers, y: Numbers) -> float:
    """Return Spearman's rank correlation; 0 where either side is constant or fewer than 3 pairs exist."""
    if len(x) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return 0.0
    return float(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])


def lower_bound(rho: float, n: int, confidence: float = 0.9) -> float:
    """Return the one-sided lower confidence bound of a rank correlation from n pairs.

    Fisher's z with Bonett & Wright's variance (1 + ρ²/2)/(n − 3) for Spearman's ρ (Psychometrika 65, 2000).
    Few pairs in perfect order prove little, and z would be infinite: ρ is taken to be at most halfway between 1
    and the value with two neighbours exchanged, 1 − 12/(n(n² − 1)).
    """
    if n < 4:
        return -1.0
    most = 1 - 6 / (n * (n * n - 1))
    rho = min(max(rho, -most), most)
    error = math.sqrt((1 + rho * rho / 2) / (n - 3))
    return math.tanh(math.atanh(rho) - float(stats.norm.ppf(confidence)) * error)
