"""Statistics of losses and scores, lower being better: correlations with bounds, permutation tests, least gaps.

Commands that only read a study should answer at once, and importing scipy's statistics takes up to a second: the few
functions that they need are written out here, and tested against scipy's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from search.common.student import student_quantile

NORMAL = NormalDist()
"""The standard normal distribution."""
Numbers = Sequence[float] | Float[ndarray, " n"]


def ranks(values: Numbers) -> Float[ndarray, " n"]:
    """Return the ranks from 1, ties sharing their mean rank."""
    _, which, counts = np.unique(np.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return np.asarray((ends - (counts - 1) / 2)[which], dtype=float)


def spearman(x: Numbers, y: Numbers) -> float:
    """Return Spearman's rank correlation; 0 if either side is constant or there are fewer than 3 pairs."""
    if len(x) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return 0.0
    # Not scipy's spearmanr: for the same value it takes a third longer, and the pruner calls this at every report.
    return float(np.corrcoef(ranks(x), ranks(y))[0, 1])


def lower_bound(rho: float, n: int, confidence: float = 0.9) -> float:
    """Return the one-sided lower confidence bound of a rank correlation from n pairs.

    Fisher's z with Bonett & Wright's variance (1 + ρ²/2)/(n − 3) for Spearman's ρ (Psychometrika 65, 2000).
    Few pairs in perfect order prove little, and their z would be infinite: so ρ is taken to be at most halfway between
    1 and the value with two neighbours exchanged, 1 − 12/(n(n² − 1)).
    """
    if n < 4:
        return -1.0
    most = 1 - 6 / (n * (n * n - 1))
    rho = min(max(rho, -most), most)
    error = math.sqrt((1 + rho * rho / 2) / (n - 3))
    return math.tanh(math.atanh(rho) - NORMAL.inv_cdf(confidence) * error)


Scores = Float[ndarray, " n"]


def normal_scores(losses: Sequence[float] | Scores) -> Scores:
    """Return Φ⁻¹((rank − ½) / n), ties sharing their mean rank; NaN ranks last, with infinity."""
    placed = ranks(_nan_as_infinity(losses))
    return np.asarray(_quantiles(len(placed))[(2 * placed).astype(int)], dtype=float)


@lru_cache(maxsize=256)
def _quantiles(n: int) -> Scores:
    """Return Φ⁻¹((rank − ½) / n) at ranks 0, ½, 1, 1½, … n; NaN below 1. Tied ranks may be half-integers."""
    quantiles = [NORMAL.inv_cdf((half / 2 - 0.5) / n) for half in range(2, 2 * n + 1)]
    return np.array([math.nan, math.nan, *quantiles])


def score_among(loss: float, others: Sequence[float] | Scores) -> float:
    """Return the normal score of one more loss among n others: Φ⁻¹((rank − ½) / (n + 1))."""
    values, own = _nan_as_infinity(others), math.inf if math.isnan(loss) else loss
    below = float((values < own).sum() + (values == own).sum() / 2)
    return NORMAL.inv_cdf((below + 0.5) / (len(values) + 1))


def _nan_as_infinity(losses: Sequence[float] | Scores) -> Scores:
    values = np.asarray(losses, dtype=float)
    return np.where(np.isnan(values), np.inf, values)


DRAWS = 999
"""Shuffles of a permutation test."""
_MOST = 0.999  # of a correlation, so that Fisher's z stays finite


def wilson(right: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval of a probability of which `right` of `total` > 0 draws are hits (JASA 22, 1927).

    It has a width where all or none are hits, too.
    """
    z = NORMAL.inv_cdf((1 + confidence) / 2)
    centre = (right + z * z / 2) / (total + z * z)
    half = z / (total + z * z) * math.sqrt(right * (total - right) / total + z * z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def chance_of_as_many(hits: int, draws: int, share: float) -> float:
    """Return the binomial chance that at least `hits` of `draws` fall into a region of probability `share`."""
    return sum(math.comb(draws, k) * share**k * (1 - share) ** (draws - k) for k in range(max(0, hits), draws + 1))


def chance_of_lower(values: Sequence[float], order: Sequence[float], inside: Sequence[bool]) -> float:
    """Return the one-sided p of Mann and Whitney's test that values inside are lower, adjusted for time.

    In a search, values improve over time: a parabola of the order is fitted to their normal scores and subtracted.
    """
    member = np.asarray(inside, dtype=bool)
    if member.all() or not member.any():
        return 1.0
    scores = normal_scores(values)
    when = ranks(order) / len(order)
    trend = np.stack([np.ones_like(when), when, when**2], axis=1)
    residual = scores - trend @ np.linalg.lstsq(trend, scores, rcond=None)[0]
    return mann_whitney_p(residual[member], residual[~member], alternative="less")


def mann_whitney_p(one: Numbers, other: Numbers, alternative: str = "two-sided") -> float:
    """Return the p of Mann and Whitney's test of two samples (Annals of Mathematical Statistics 18, 1947).

    Exact for a sample of at most 8 without ties, else the normal approximation with the corrections for ties and for
    continuity: scipy's rule, without its import.

    Args:
        one: the sample that may be the lower.
        other: the sample it is compared with.
        alternative: "less" or "two-sided".

    """
    n, m = len(one), len(other)
    placed = ranks([*one, *other])
    wins = float(placed[:n].sum()) - n * (n + 1) / 2
    extreme = wins if alternative == "less" else max(wins, n * m - wins)
    if min(n, m) <= 8 and len(set(placed)) == n + m:
        ways = _ways_to_win(min(n, m), max(n, m))
        tail = ways[: int(extreme) + 1] if alternative == "less" else ways[int(extreme) :]
        chance = sum(tail) / math.comb(n + m, n)
    else:
        ties = np.unique(placed, return_counts=True)[1]
        variance = n * m / 12 * (n + m + 1 - float((ties**3 - ties).sum()) / ((n + m) * (n + m - 1)))
        if variance <= 0:
            return 1.0
        beyond = (n * m / 2 - extreme if alternative == "less" else extreme - n * m / 2) - 0.5
        chance = math.erfc(beyond / math.sqrt(2 * variance)) / 2
    return chance if alternative == "less" else min(1.0, 2 * chance)


@lru_cache(maxsize=64)
def _ways_to_win(few: int, many: int) -> list[int]:
    """Return for each U from 0 the number of orders of two samples of these sizes that give it.

    The coefficients of the Gaussian binomial: the product over i of (1 − q^(many + i)) / (1 − q^i).
    """
    ways = [1] + [0] * (few * many)
    for i in range(1, few + 1):
        for u in range(few * many, many + i - 1, -1):
            ways[u] -= ways[u - many - i]
        for u in range(i, few * many + 1):
            ways[u] += ways[u - i]
    return ways


def permutation_p(x: Numbers, y: Numbers) -> float:
    """Return the two-sided p of Spearman's ρ by shuffling y, with a fixed set of random shuffles."""
    # Not scipy's permutation_test: on spearmanr it takes 0.5 s instead of 1 ms, and as fast it needs the same code.
    centred = [ranks(v) - (len(v) + 1) / 2 for v in (x, y)]
    shuffled = _shuffles(len(y))
    sums = np.abs(np.take(centred[1], shuffled) @ centred[0])
    observed = abs(float(centred[0] @ centred[1]))
    return float((1 + (sums >= observed - 1e-9).sum()) / (1 + len(sums)))


def largest_offset_p(values: Numbers, groups: Sequence[str], judged: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return for each judged group its mean minus that of all other values, and the p of so large an offset.

    Groups are shuffled over the values, and an offset is compared with the largest one over all judged groups, so that
    p is corrected for looking at many groups.
    """
    numbers = np.asarray(values, dtype=float)
    member = np.array([[g == k for k in judged] for g in groups], dtype=float)
    size = member.sum(axis=0)

    def offsets(rows: Float[ndarray, "draws n"]) -> Float[ndarray, "draws groups"]:
        inside: Float[ndarray, "draws groups"] = rows @ member
        outside = numbers.sum() - inside
        return np.asarray(inside / size - outside / (len(numbers) - size))

    observed = offsets(numbers[None])[0]
    largest = np.abs(offsets(np.take(numbers, _shuffles(len(numbers))))).max(axis=1)
    return {
        name: (float(offset), float((1 + (largest >= abs(offset) - 1e-12).sum()) / (1 + DRAWS)))
        for name, offset in zip(judged, observed, strict=True)
    }


def _shuffles(n: int) -> Float[ndarray, "draws n"]:
    return np.random.default_rng(0).random((DRAWS, n)).argsort(axis=1)


@dataclass(frozen=True)
class Fall:
    """Two correlations, and a test of whether the second is lower."""

    before: float
    after: float
    p: float
    """One-sided p: chance of so low a second correlation if nothing but the spread has changed."""


def fall_over_time(x: Numbers, y: Numbers) -> Fall:
    """Compare the correlation in the first half of the pairs, which are in order of time, with that in the second.

    A search closes in on good configurations, and their narrower spread alone lowers a correlation. With equal noise
    the unexplained part grows as the variance shrinks, 1 − ρ' = (1 − ρ) / u², where u² is the ratio of the second
    half's variance to the first's (Gulliksen, Theory of Mental Tests, 1950, ch. 10). The second half is compared with
    that ρ' by Fisher's z, including the errors of ρ and u². A single outlier can lower a correlation, so the rank
    correlation must have fallen too.
    """
    half = len(x) // 2
    (x1, x2), (y1, y2) = ((np.asarray(v[:half], dtype=float), np.asarray(v[half:], dtype=float)) for v in (x, y))
    first, second = (_clipped(np.corrcoef(a, b)[0, 1]) for a, b in ((x1, y1), (x2, y2)))
    u2 = min(1.0, math.sqrt(float(x2.var() * y2.var() / (x1.var() * y1.var()))))
    expected = _clipped(max(0.0, 1 - (1 - first) / max(u2, 1e-9)))
    n1, n2 = half - 3, len(x) - half - 3
    of_rho = ((1 - first**2) / max(u2, 1e-9)) ** 2 / n1
    of_spread = (1 - expected) ** 2 * (2 / n1 + 2 / n2) if u2 < 1 else 0.0
    error = math.sqrt((of_rho + of_spread) / (1 - expected**2) ** 2 + 1 / n2)
    by_value = (math.atanh(second) - math.atanh(expected)) / error
    before, after = spearman(x1, y1), spearman(x2, y2)
    by_rank = (math.atanh(_clipped(after)) - math.atanh(_clipped(before))) / math.sqrt(1.06 / n1 + 1.06 / n2)
    return Fall(before, after, NORMAL.cdf(max(by_value, by_rank)))


def fall_with_progress(early: Numbers, late: Numbers, final: Numbers) -> Fall:
    """Compare the correlation of an early and of a late loss with the final one, over the same runs.

    The two correlations are not independent: the test is Meng, Rosenthal & Rubin's (Psychological Bulletin 111,
    1992), on normal scores.
    """
    x1, x2, y = (normal_scores(v) for v in (early, late, final))
    r1, r2, r12 = (_clipped(np.corrcoef(a, b)[0, 1]) for a, b in ((x1, y), (x2, y), (x1, x2)))
    mean_square = (r1 * r1 + r2 * r2) / 2
    f = min(1.0, (1 - r12) / (2 * (1 - mean_square)))
    h = (1 - f * mean_square) / (1 - mean_square)
    error = math.sqrt(2 * (1 - r12) * h / (len(y) - 3))
    z = (math.atanh(r2) - math.atanh(r1)) / error
    return Fall(spearman(early, final), spearman(late, final), NORMAL.cdf(z))


def _clipped(rho: float) -> float:
    return float(min(max(rho, -_MOST), _MOST))


def kendall_tau(x: Numbers, y: Numbers) -> float:
    """Return Kendall's τ-b of the pairs; NaN where either side is constant."""
    one, other = (np.sign(np.subtract.outer(v, v)) for v in (np.asarray(x, dtype=float), np.asarray(y, dtype=float)))
    untied = [float((signs**2).sum()) for signs in (one, other)]
    return float((one * other).sum()) / math.sqrt(untied[0]) / math.sqrt(untied[1]) if all(untied) else math.nan


def least_gap(deviation: float, degrees: int, seeds: tuple[int, int], confidence: float = 0.95) -> float:
    """Return the smallest difference of two means that noise does not explain, by Student's t."""
    error = deviation * math.sqrt(1 / seeds[0] + 1 / seeds[1])
    return student_quantile(degrees, confidence) * error


def seeds_to_tell(gap: float, deviation: float, confidence: float = 0.95, power: float = 0.8) -> int | None:
    """Return how many seeds of each of two configurations tell a true gap with this power; None for no gap.

    n = 2 (z_confidence + z_power)² σ² / gap², the two-sample z test's.
    """
    if gap <= 0:
        return None
    z = NORMAL.inv_cdf((1 + confidence) / 2) + NORMAL.inv_cdf(power)
    return max(2, math.ceil(2 * (z * deviation / gap) ** 2))
