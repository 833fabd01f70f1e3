"""The pruner's model: at one report, the distribution of the losses of the runs that end among the best.

All losses are normal scores of ranks, because losses saturate and diverge. A run that ended well, with a score t of
its final loss, has at the report a score z = a + b·t + e. Only good runs are fitted: bad ones would dominate a
correlation over all runs and flatter it. a, b and the variance of e have a normal-inverse-gamma prior (Gelman et al.,
Bayesian Data Analysis, ch. 14). The alternative is that there is no relation: then the scores of good runs are
standard normal at the report, as those of all runs are. The two are weighed by their Bayes factor, which may be
checked after every run: if there is no relation, the chance that it ever exceeds k is at most 1/k (Ville's
inequality). That holds while nothing is pruned: later good runs are those that pruning spared, and so look related to
the losses that they were judged by.
"""

import math
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from search.common.stats import NORMAL, Scores
from search.common.student import student_cdf

Sums = Float[ndarray, "6"]
_ROUNDS = 4  # of expectation-maximisation; the pruned runs' weights converge after two or three


def weighted_sums(final: Scores, score: Scores, weight: Scores | float = 1.0) -> Sums:
    """Return the weighted sums of 1, t, t², z, tz and z²: the sufficient statistics of the line's fit."""
    pairs = np.stack([np.ones_like(final), final, final**2, score, final * score, score**2])
    return np.asarray((pairs * weight).sum(axis=1), dtype=float)


@dataclass(frozen=True)
class Prior:
    """The prior at a report, before any run has finished.

    The line passes through the origin with slope ½, each with the weight of two runs; scores vary about it with a
    deviation of 0.7, known as if from four.
    """

    odds: float = 10.0
    """Prior odds that losses at a report are related to final ones."""
    earlier: Sums = field(default_factory=lambda: np.zeros(6))
    """Discounted sums over an earlier study's runs."""
    slope: float = 0.5
    weight: float = 2.0
    deviation: float = 0.7
    degrees: float = 4.0


@dataclass(frozen=True)
class Prediction:
    """Predictive distribution, at one report, of the scores of runs that end among the best."""

    runs: float
    """Number of good runs that it rests on: the sum of their weights."""
    centre: float
    """Their expected score; its predictive distribution is a Student t with `scale` and `degrees`."""
    scale: float
    degrees: float
    log_odds: float
    """Natural logarithm of the odds that losses at the report are related to final ones."""

    @property
    def proof(self) -> float:
        """Probability that losses at the report are related to final ones."""
        return 1 / (1 + math.exp(min(max(-self.log_odds, -700), 700)))

    def share_as_bad(self, score: float) -> float:
        """Return the expected share of the best runs whose score at the report is this one or worse."""
        return self.proof * self.share_if_related(score) + (1 - self.proof) * NORMAL.cdf(-score)

    def share_if_related(self, score: float) -> float:
        """Return the same share under the assumption that losses at the report are related to final ones."""
        return student_cdf(self.degrees, (self.centre - score) / self.scale)


def predict_best_runs(
    final: Scores, score: Scores, pruned: Scores, *, share: float, best: float, prior: Prior
) -> Prediction:
    """Return the prediction of the best runs' scores at a report from the good runs' scores there.

    Args:
        final: scores of the good runs' final losses.
        score: their scores at the report.
        pruned: scores there of runs that were pruned at this report. Some might have ended well: each counts as a good
            run with the chance that the fitted relation gives it (expectation-maximisation). Without them each
            pruned trial would make the next one seem safer to prune than it is.
        share: good runs as a share of all runs.
        best: runs that count as the best, as a share of all runs.
        prior: the prior at this report.

    """
    data = weighted_sums(final, score) + prior.earlier
    typical = float(data[1] / data[0])
    weight, fit = np.zeros_like(pruned), _Line.fit(data, prior)
    for _ in range(_ROUNDS if len(pruned) else 0):
        weight = share * np.exp(np.clip(fit.log_ratio(pruned, typical), -50, 0))
        fit = _Line.fit(data + weighted_sums(np.full_like(pruned, typical), pruned, weight), prior)
    target = NORMAL.inv_cdf(best)
    centre, scale = fit.predict(target)
    return Prediction(float(data[0] + weight.sum()), centre, scale, fit.degrees, math.log(prior.odds) + fit.evidence)


@dataclass(frozen=True)
class _Line:
    """The posterior of a, b and the variance: z is normal about a + b·t."""

    a: float
    b: float
    precision: tuple[float, float, float]
    """Precision of (a, b), in units of 1 / variance: its elements aa, bb, ab."""
    degrees: float
    variance: float
    evidence: float
    """Logarithm of the Bayes factor of this relation against standard normal scores."""

    @classmethod
    def fit(cls, data: Sums, prior: Prior) -> Self:
        n, t, tt, z, tz, zz = (float(v) for v in data)
        w, slope, squares0 = prior.weight, prior.slope, prior.degrees * prior.deviation**2
        aa, bb, ab = w + n, w + tt, t
        u, v, det = z, w * slope + tz, (w + n) * (w + tt) - t * t
        a, b = (bb * u - ab * v) / det, (aa * v - ab * u) / det
        degrees, squares = prior.degrees + n, squares0 + zz + w * slope**2 - (a * u + b * v)
        evidence = (
            math.log(w * w / det) / 2
            + prior.degrees / 2 * math.log(squares0 / 2)
            - degrees / 2 * math.log(squares / 2)
            + math.lgamma(degrees / 2)
            - math.lgamma(prior.degrees / 2)
            + zz / 2
        )
        return cls(a, b, (aa, bb, ab), degrees, squares / degrees, evidence)

    def predict(self, t: float) -> tuple[float, float]:
        """Return location and scale of the score at the report, given the final score t."""
        aa, bb, ab = self.precision
        line = (bb - 2 * ab * t + aa * t * t) / (aa * bb - ab * ab)
        return self.a + self.b * t, math.sqrt(self.variance * (1 + line))

    def log_ratio(self, z: Scores, t: float) -> Scores:
        """Return the logarithm of how much likelier these scores are for good runs than for all runs."""
        off = (z - self.a - self.b * t) ** 2 / self.variance
        return np.asarray((z * z - off - math.log(self.variance)) / 2, dtype=float)
