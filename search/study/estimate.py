"""The BPB to expect of a confirmed configuration that may have been chosen for its low mean.

The lowest of several means is lower than its configuration's BPB (the winner's curse), and a race that stops once it
looks decided stops the sooner the less its seeds happen to differ: the mean ± Student's t of the winner covers too
rarely. A posterior holds for whichever configuration is chosen, as far as its prior describes the candidates (Dawid,
1994; Efron, 2011). Here all candidates' BPB come from one normal population, whose mean and spread τ are learnt with
the noise σ from all runs (normal hierarchical model: Gelman et al., Bayesian Data Analysis, 2013, chapter 5).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from search.study.results import bpb_text, pooled_noise

MIN_CONFIGURATIONS = 3
"""Fewest configurations from which a population's spread can be learnt; below, means and Student's t are stated."""
RATIOS = np.geomspace(0.03, 1e4, 48)
"""Values of τ/σ over which the posterior is summed: from "all alike" to differences of 10,000 times the noise."""
PRIOR_DEGREES = 1.5
"""Degrees of freedom that the prior costs: it is flat in τ (Gelman, 2006) and σ^(-1/2) in σ.

Jeffreys' 1/σ would cost 1, and covered in .92 to .95 of simulated races: the race stops sooner where σ looks small.
"""
CONFIDENCE = 0.95
_STEPS = 50  # halvings of the range in which a quantile is sought
_SMALLEST_SQUARES = 1e-24  # BPB²; runs that agree exactly leave none
_ANGLE = np.linspace(-30.0, 30.0, 4801)  # asinh of Student's t; the distribution is tabulated there

Vector = Float[ndarray, " k"]


@dataclass(frozen=True)
class Estimate:
    """What to expect of a configuration, with 95% intervals, all in BPB; an interval is None if noise isn't known."""

    bpb: float
    """BPB of its runs on average over all seeds: the posterior's median."""
    half_width: float | None
    """Half of the interval of that BPB: as far as the farther end of the posterior's central 95%."""
    new_run_half_width: float | None
    """Half of the interval of one new run's BPB, around the same middle."""

    @property
    def text(self) -> str:
        """The estimate as text, with its 95% interval if that is known."""
        return bpb_text(self.bpb, self.half_width)


def estimates(bpb: Sequence[Sequence[float]]) -> list[Estimate]:
    """Return the estimate of each configuration from the BPB of all configurations' runs, in the same order.

    Each configuration has at least one run. With fewer than `MIN_CONFIGURATIONS`, or without any configuration that
    ran twice, it is the mean of its runs, with Student's t interval if noise is known.
    """
    noise = pooled_noise(bpb)
    if len(bpb) < MIN_CONFIGURATIONS or noise.deviation is None:
        return [
            Estimate(float(np.mean(runs)), noise.half_width(len(runs)), noise.prediction_half_width(len(runs)))
            for runs in bpb
        ]
    posterior = _posterior(bpb)
    return [posterior.estimate(i) for i in range(len(bpb))]


def shrunk(means: Vector, runs: Vector, tau: float, sigma: float) -> tuple[Vector, Vector]:
    """Return posterior means and standard deviations, given τ and σ, with a flat prior of the population's mean.

    θᵢ = kᵢ yᵢ + (1 − kᵢ) μ, kᵢ = τ² / (τ² + σ²/nᵢ), μ the mean of all yᵢ weighted by 1 / (τ² + σ²/nᵢ), with variance
    kᵢ σ²/nᵢ + (1 − kᵢ)² / Σ 1/(τ² + σ²/nⱼ): Gelman et al., 2013, equations 5.17 and 5.20.
    """
    weights = 1 / (tau**2 + sigma**2 / runs)
    share = tau**2 * weights
    centre = (weights @ means) / weights.sum()
    variance = share * sigma**2 / runs + (1 - share) ** 2 / weights.sum()
    return share * means + (1 - share) * centre, np.sqrt(variance)


@dataclass(frozen=True)
class _Posterior:
    """For each ratio τ/σ its weight, and Student's t of each configuration's BPB (its middle and scale)."""

    weights: Vector
    middles: Float[ndarray, "k n"]
    scales: Float[ndarray, "k n"]
    deviations: Vector
    """Noise σ of a run by each ratio."""
    table: Vector
    """Student's t distribution function at sinh of `_ANGLE`."""

    def estimate(self, i: int) -> Estimate:
        """Return the estimate of a configuration."""
        middles, scales = self.middles[:, i], self.scales[:, i]
        reach = float((np.abs(middles - middles @ self.weights) + 1e3 * scales).max())
        low, high = float(middles.min()) - reach, float(middles.max()) + reach

        def quantile(p: float, spread: Vector) -> float:
            return _sought(low, high, lambda x: self._below(x, middles, spread) < p)

        def half_width(spread: Vector) -> float:
            return max(median - quantile((1 - CONFIDENCE) / 2, spread), quantile((1 + CONFIDENCE) / 2, spread) - median)

        median = quantile(0.5, scales)
        return Estimate(median, half_width(scales), half_width(np.hypot(scales, self.deviations)))

    def _below(self, x: float, middles: Vector, scales: Vector) -> float:
        return float(self.weights @ np.interp(np.arcsinh((x - middles) / scales), _ANGLE, self.table))


def _posterior(bpb: Sequence[Sequence[float]]) -> _Posterior:
    """Return the posterior by ratio τ/σ; for each ratio the population's mean and σ are integrated exactly."""
    runs = np.array([len(group) for group in bpb], dtype=float)
    means = np.array([np.mean(group) for group in bpb])
    within = sum(float(((np.asarray(group) - np.mean(group)) ** 2).sum()) for group in bpb)
    degrees = float(runs.sum()) - 1 - PRIOR_DEGREES
    log_weights, deviations, middles, scales = [], [], [], []
    for ratio in RATIOS:
        precision = 1 / (ratio**2 + 1 / runs)  # of each mean, in units of 1/σ²
        centre = (precision @ means) / precision.sum()
        squares = max(float(precision @ (means - centre) ** 2) + within, _SMALLEST_SQUARES)
        evidence = 0.5 * np.log(precision).sum() - 0.5 * math.log(precision.sum()) - 0.5 * degrees * math.log(squares)
        log_weights.append(evidence + math.log(ratio))  # flat in τ, on a grid even in log τ
        deviation = math.sqrt(squares / degrees)
        middle, scale = shrunk(means, runs, ratio * deviation, deviation)
        deviations.append(deviation)
        middles.append(middle)
        scales.append(scale)
    weights = np.exp(np.array(log_weights) - max(log_weights))
    return _Posterior(
        weights / weights.sum(), np.array(middles), np.array(scales), np.array(deviations), _student_table(degrees)
    )


def _student_table(degrees: float) -> Vector:
    """Return Student's t distribution function at sinh of `_ANGLE`, by the trapezoidal rule; degrees may be broken."""
    density = np.exp(-0.5 * (degrees + 1) * np.log1p(np.sinh(_ANGLE) ** 2 / degrees)) * np.cosh(_ANGLE)
    summed = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.asarray(summed / summed[-1])


def _sought(low: float, high: float, is_above: Callable[[float], bool]) -> float:
    """Return where a condition that holds for small values ends, between two bounds."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_above(middle) else (low, middle)
    return (low + high) / 2
