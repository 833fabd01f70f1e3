"""How well proxies rank configurations as their long runs do: pure functions of numbers, lower BPB being better.

A run that failed has an infinite BPB: it ranks last, with all others that failed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import stats

Numbers = Sequence[float] | Float[ndarray, " n"]
RESAMPLES = 4000


def signs(values: Numbers) -> Float[ndarray, "n n"]:
    """Return for each pair whether the first is the higher (1), the lower (-1), or neither (0)."""
    ranks = np.asarray(stats.rankdata(values))
    return np.asarray(np.sign(ranks[:, None] - ranks[None, :]))


def tau_b(x: Float[ndarray, "n n"], y: Float[ndarray, "n n"]) -> float:
    """Return Kendall's τ-b from both sides' `signs`; 0 where one is constant, which tells nothing."""
    pairs = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / pairs) if pairs else 0.0


def tau(x: Numbers, y: Numbers) -> float:
    """Return Kendall's τ-b of two lists of numbers."""
    return tau_b(signs(x), signs(y))


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} … {self.high:.2f})"


def bootstrap(
    proxies: Mapping[str, Numbers],
    confirmed: Numbers,
    figure: Callable[[dict[str, float]], float],
    resamples: int = RESAMPLES,
) -> Estimate:
    """Return a figure of all proxies' τ-b with its percentile interval over resampled configurations.

    All proxies see the same resamples, so that differences keep what they have in common. A configuration that was
    drawn twice makes a tie on both sides, which τ-b leaves out.
    """
    truth, sides = signs(confirmed), {name: signs(values) for name, values in proxies.items()}
    chosen = np.random.default_rng(0).integers(0, len(truth), (resamples, len(truth)))
    times = np.zeros(chosen.shape)
    np.add.at(times, (np.arange(resamples)[:, None], chosen), 1)
    drawn = {name: _resampled(side, truth, times) for name, side in sides.items()}
    found = [figure(dict(zip(drawn, taus, strict=True))) for taus in zip(*drawn.values(), strict=True)]
    low, high = np.percentile(found, (2.5, 97.5))
    return Estimate(figure({name: tau_b(side, truth) for name, side in sides.items()}), float(low), float(high))


def _resampled(x: Float[ndarray, "n n"], y: Float[ndarray, "n n"], times: Float[ndarray, "resamples n"]) -> list[float]:
    """Return each resample's `tau_b`, from how many times it holds each configuration: a pair counts times times."""
    both, in_x, in_y = (np.asarray(((times @ signs) * times).sum(axis=1)) for signs in (x * y, x * x, y * y))
    pairs = np.sqrt(in_x * in_y)
    taus: list[float] = np.divide(both, pairs, out=np.zeros_like(pairs), where=pairs > 0).tolist()
    return taus


def best(values: Numbers, count: int) -> list[int]:
    """Return the indices of the lowest values, the lowest first."""
    return [int(i) for i in np.argsort(np.asarray(values, dtype=float), kind="stable")[:count]]


def recall(proxy: Numbers, confirmed: Numbers, count: int) -> float:
    """Return which share of the truly best `count` are among the proxy's best `count`."""
    return len(set(best(proxy, count)) & set(best(confirmed, count))) / count


def regret(proxy: Numbers, confirmed: Numbers, count: int) -> float:
    """Return how much worse than the best of all the best of the proxy's best `count` is."""
    return min(confirmed[i] for i in best(proxy, count)) - min(confirmed)
