"""What short and long runs together say of every configuration's long BPB: a Gaussian process over both budgets.

A long run's BPB is a smooth function g of the configuration, and noise; a short run's is a·g, another smooth function h
of what only short runs reward, and noise (Kennedy & O'Hagan, Biometrika 87, 2000, written with the long budget as the
base). Both have Matérn-5/2 kernels with a length for each coordinate. Lengths, scales and noises are those of the
highest posterior density; their priors keep a dozen runs from believing anything strange (Rasmussen & Williams,
Gaussian Processes for Machine Learning, 2006, ch. 2 and 5).
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.linalg import cho_solve, solve_triangular

Points = Float[ndarray, "n d"]
Vector = Float[ndarray, " n"]

OFFSET_VARIANCE = 4.0
"""Prior variance of each budget's level, in squared spreads of its losses."""
JITTER = 1e-8
PRIORS = {
    "length": (math.log(0.7), 0.7),
    "scale": (0.0, 0.5),
    "ratio": (0.0, 0.4),
    "short_scale": (math.log(0.5), 0.7),
    "short_noise": (math.log(0.1), 0.7),
    "long_noise": (math.log(0.1), 0.7),
}
"""Means and deviations of the logarithms of the hyperparameters, in spreads of the losses."""


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Finished runs of both budgets: n points in the unit cube of d coordinates, lower BPB being better."""

    points: Points
    long: Bool[ndarray, " n"]
    bpb: Vector


@dataclass(frozen=True, kw_only=True)
class _Hyper:
    """Hyperparameters as logarithms, in the order of the vector that is optimised."""

    theta: Vector
    d: int

    @property
    def lengths(self) -> Vector:
        return np.asarray(np.exp(self.theta[: self.d]))

    @property
    def rest(self) -> tuple[float, float, float, float, float]:
        """scale of g, ratio a, scale of h, noise of short runs, noise of long runs."""
        scale, ratio, short, noise_s, noise_l = np.exp(self.theta[self.d :])
        return float(scale), float(ratio), float(short), float(noise_s), float(noise_l)


def _prior(d: int) -> tuple[Vector, Vector]:
    names = ["length"] * d + ["scale", "ratio", "short_scale", "short_noise", "long_noise"]
    means, deviations = zip(*(PRIORS[n] for n in names), strict=True)
    # A dimension more means that each matters less (Hvarfner et al., ICML 2024): lengths grow with its root.
    growth = np.array([0.5 * math.log(max(1, d) / 4)] * d + [0.0] * 5)
    return np.asarray(np.array(means) + growth), np.array(deviations)


def _matern(squares: Float[ndarray, "n m"]) -> tuple[Float[ndarray, "n m"], Float[ndarray, "n m"]]:
    """Return Matérn-5/2 of r² and what its derivative by log ℓ_k has beside r_k²: (5/3)(1 + √5 r) e^(−√5 r)."""
    r = np.sqrt(5 * squares)
    decay = np.exp(-r)
    return (1 + r + r * r / 3) * decay, 5 / 3 * (1 + r) * decay


class TwoBudgetModel:
    """The fitted model; `predict` gives each configuration's long BPB and its standard deviation, without noise."""

    def __init__(self, runs: Runs, theta: Vector, levels: tuple[float, float], spread: float) -> None:
        self.runs, self.theta, self.levels, self.spread = runs, theta, levels, spread
        self._hyper = _Hyper(theta=theta, d=runs.points.shape[1])
        y = _scaled(runs, levels, spread)
        covariance = _covariance(runs, self._hyper)[0]
        self._root = np.linalg.cholesky(covariance)
        self._weights = cho_solve((self._root, True), y)

    @classmethod
    def fit(cls, runs: Runs, start: Vector | None = None, rounds: int = 60) -> Self:
        """Return the model of the highest posterior density that is found from `start`, or from the prior's mean."""
        from scipy.optimize import minimize  # imported here: only workers fit models

        levels, spread = _levels(runs)
        d = runs.points.shape[1]
        mean, deviation = _prior(d)
        y = _scaled(runs, levels, spread)
        squares = _squares(runs.points, runs.points)
        found = minimize(
            _minus_log_posterior,
            mean if start is None or len(start) != len(mean) else start,
            args=(runs, y, squares, mean, deviation),
            jac=True,
            method="L-BFGS-B",
            bounds=[(m - 4 * s, m + 4 * s) for m, s in zip(mean, deviation, strict=True)],
            options={"maxiter": rounds},
        )
        return cls(runs, found.x, levels, spread)

    def predict(self, points: Points, *, long: bool = True) -> tuple[Vector, Vector]:
        """Return mean and standard deviation, without a run's own noise, of the BPB of runs at points of shape (m, d).

        Args:
            points: the configurations.
            long: whether of long runs or of short ones.

        """
        scale, ratio, short, _, _ = self._hyper.rest
        squares = _squares(self.runs.points, points)
        kernel = _matern((squares / (self._hyper.lengths**2)[:, None, None]).sum(axis=0))[0]
        own = 1.0 if long else ratio
        same = self.runs.long == long
        shared = scale**2 * own * np.where(self.runs.long, 1.0, ratio) + (0.0 if long else short**2) * ~self.runs.long
        cross = shared[:, None] * kernel + OFFSET_VARIANCE * same[:, None]
        part = solve_triangular(self._root, cross, lower=True)
        prior = (scale * own) ** 2 + (0.0 if long else short**2) + OFFSET_VARIANCE
        variance = prior - (part * part).sum(axis=0)
        mean = self.levels[int(long)] + self.spread * (cross.T @ self._weights)
        return mean, self.spread * np.sqrt(np.maximum(variance, 1e-12))

    def believing(self, points: Points, long: Bool[ndarray, " m"]) -> Self:
        """Return the model as it would be if runs under way ended as it predicts (the "kriging believer").

        What they will teach is then counted as known, so that nothing is drawn beside them for the same lesson.
        """
        if not len(points):
            return self
        bpb = np.where(long, self.predict(points)[0], self.predict(points, long=False)[0])
        runs = Runs(
            points=np.vstack([self.runs.points, points]),
            long=np.concatenate([self.runs.long, long]),
            bpb=np.concatenate([self.runs.bpb, bpb]),
        )
        return type(self)(runs, self.theta, self.levels, self.spread)

    @property
    def long_noise(self) -> float:
        """Standard deviation of a long run's BPB from seed to seed."""
        return self.spread * self._hyper.rest[4]


def _levels(runs: Runs) -> tuple[tuple[float, float], float]:
    """Return the typical BPB of short and of long runs, and the spread of the short ones among each other."""
    short, long = runs.bpb[~runs.long], runs.bpb[runs.long]
    typical = float(np.median(short)) if len(short) else float(np.median(long))
    spread = float(np.std(short if len(short) > 2 else runs.bpb)) or 1.0
    # Long runs are of configurations that were chosen: their level is that of the same ones' short runs, lower.
    return (typical, float(np.median(long)) if len(long) else typical), max(spread, 1e-9)


def _scaled(runs: Runs, levels: tuple[float, float], spread: float) -> Vector:
    return (runs.bpb - np.where(runs.long, levels[1], levels[0])) / spread


def _squares(one: Points, other: Points) -> Float[ndarray, "d n m"]:
    return np.asarray((one.T[:, :, None] - other.T[:, None, :]) ** 2)


def _covariance(
    runs: Runs, hyper: _Hyper, squares: Float[ndarray, "d n n"] | None = None
) -> tuple[Float[ndarray, "n n"], dict[str, ndarray]]:
    """Return the covariance of the losses, and its parts, which the gradient needs."""
    scale, ratio, short, noise_s, noise_l = hyper.rest
    squares = _squares(runs.points, runs.points) if squares is None else squares
    kernel, slope = _matern((squares / (hyper.lengths**2)[:, None, None]).sum(axis=0))
    factor = np.where(runs.long, 1.0, ratio)
    is_short = (~runs.long).astype(float)
    shared = scale**2 * np.outer(factor, factor)
    own = short**2 * np.outer(is_short, is_short)
    same = np.outer(is_short, is_short) + np.outer(1 - is_short, 1 - is_short)
    noise = np.where(runs.long, noise_l**2, noise_s**2)
    total = (shared + own) * kernel + OFFSET_VARIANCE * same + np.diag(noise + JITTER)
    return total, {"kernel": kernel, "slope": slope, "shared": shared, "own": own, "short": is_short, "noise": noise}


def _minus_log_posterior(
    theta: Vector, runs: Runs, y: Vector, squares: Float[ndarray, "d n n"], mean: Vector, deviation: Vector
) -> tuple[float, Vector]:
    hyper = _Hyper(theta=theta, d=runs.points.shape[1])
    total, parts = _covariance(runs, hyper, squares)
    d = hyper.d
    root = np.linalg.cholesky(total)
    inverse_root = np.linalg.inv(root)
    inverse = inverse_root.T @ inverse_root
    weights = inverse @ y
    value = 0.5 * float(y @ weights) + float(np.log(np.diag(root)).sum())
    inner = inverse - np.outer(weights, weights)  # twice the gradient by the covariance
    kernel, shared, own, short = parts["kernel"], parts["shared"], parts["own"], parts["short"]
    gradient = np.empty(len(theta))
    by_length = inner * (shared + own) * parts["slope"]
    gradient[:d] = 0.5 * (squares.reshape(d, -1) @ by_length.reshape(-1)) / hyper.lengths**2
    by_shared = inner * shared * kernel
    gradient[d] = by_shared.sum()
    gradient[d + 1] = 0.5 * float((by_shared * (short[:, None] + short[None, :])).sum())
    gradient[d + 2] = float((inner * own * kernel).sum())
    diagonal = np.diag(inner) * parts["noise"]
    gradient[d + 3] = float(diagonal[~runs.long].sum())
    gradient[d + 4] = float(diagonal[runs.long].sum())
    off = (theta - mean) / deviation
    return value + 0.5 * float(off @ off), gradient + off / deviation
