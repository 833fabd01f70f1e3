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


def normal_score(value: float, others: Numbers) -> float:
    """Return the normal score of a value among others: Φ⁻¹ of its mid-rank, each of n + 1 values given equal mass.

    A value that isn't finite ranks behind all that are.
    """
    losses = np.nan_to_num(np.asarray(others, dtype=float), nan=np.inf, posinf=np.inf)
    value = value if math.isfinite(value) else math.inf
    below, equal = int((losses < value).sum()), int((losses == value).sum())
    return float(stats.norm.ppf((below + equal / 2 + 0.5) / (len(losses) + 1)))


def chance_among_best(score: float, rho: float, best: int, among: int) -> float:
    """Return the chance that a trial with this normal score ends among the `best` of `among` trials.

    A normal copula: given its score z now, the score at the end is normal with mean ρz and variance 1 − ρ²
    (the conditional of a bivariate normal), and being among the best is to lie below the score of their share.
    """
    share = best / among
    if share >= 1:
        return 1.0
    rho = min(max(rho, -0.999), 0.999)
    return float(stats.norm.cdf((stats.norm.ppf(share) - rho * score) / math.sqrt(1 - rho * rho)))
