"""What a loss so far says of the end: where, at one report, the runs stood that ended among the best.

Everything is in normal scores of ranks, because losses saturate and diverge. A run that ended well, with a score t of
its final loss, has at the report a score z = a + b·t + e. Only runs that ended well take part: bad ones would drive a
correlation over all and flatter it. a, b and the variance of e have a normal-inverse-gamma prior (Gelman et al.,
Bayesian Data Analysis, ch. 14). Beside it stands the doubt that there is any relation: then good runs' scores are
standard normal here, as everybody's are. The two are weighed by their evidence, which may be watched continually:
under the doubt it exceeds k with a chance of 1/k at most, however often one looks (Ville's inequality). That holds
while nothing is pruned: later good runs are survivors, who look related to whatever they were pruned by.
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
_ROUNDS = 4  # of the pruned runs' weights, which settle after two or three


def sums(final: Scores, score: Scores, weight: Scores | float = 1.0) -> Sums:
    """Return the weighted sums of 1, t, t², z, tz and z²: all that the relation needs of its runs."""
    pairs = np.stack([np.ones_like(final), final, final**2, score, final * score, score**2])
    return np.asarray((pairs * weight).sum(axis=1), dtype=float)


@dataclass(frozen=True)
class Prior:
    """What is believed of a report before any run has finished.

    The line passes through the origin with slope ½, each with the weight of two runs; scores vary about it with a
    deviation of 0.7, known as if from four.
    """

    odds: float = 10.0
    """That losses at a report say something of final ones, against that they say nothing."""
    earlier: Sums = field(default_factory=lambda: np.zeros(6))
    """What an earlier study's runs have shown, discounted."""
    slope: float = 0.5
    weight: float = 2.0
    deviation: float = 0.7
    degrees: float = 4.0


@dataclass(frozen=True)
class Foresight:
    """Where runs that end among the best stand at one report."""

    runs: float
    """How many good runs it rests on, weights added up."""
    centre: float
    """Their expected score; its predictive distribution is a Student t with `scale` and `degrees`."""
    scale: float
    degrees: float
    log_odds: float
    """Natural logarithm of the odds that losses here say something of final ones."""

    @property
    def proof(self) -> float:
        """Probability that losses here say something of final ones."""
        return 1 / (1 + math.exp(min(max(-self.log_odds, -700), 700)))

    def share_as_bad(self, score: float) -> float:
        """Return the expected share of the best runs that look as bad as this one here, or worse."""
        return self.proof * self.share_if_related(score) + (1 - self.proof) * NORMAL.cdf(-score)

    def share_if_related(self, score: float) -> float:
        """Return the same share, were it certain that losses here say something."""
        return student_cdf(self.degrees, (self.centre - score) / self.scale)


def foresee(final: Scores, score: Scores, cut: Scores, *, share: float, best: float, prior: Prior) -> Foresight:
    """Return what the good runs' scores at a report say of the best ones.

    Args:
        final: scores of the good runs' final losses.
        score: their scores at the report.
        cut: scores there of runs that were pruned at this report. Some might have ended well: each counts as a good
            run with the chance that the relation itself gives it (expectation-maximisation). Without them every
            prune would make the next seem safer than it is.
        share: of all runs, how many the good ones are.
        best: of all runs, how many count as the best.
        prior: what is believed beforehand.

    """
    known = sums(final, score) + prior.earlier
    typical = float(known[1] / known[0])
    weight, fit = np.zeros_like(cut), _Line.fit(known, prior)
    for _ in range(_ROUNDS if len(cut) else 0):
        weight = share * np.exp(np.clip(fit.log_ratio(cut, typical), -50, 0))
        fit = _Line.fit(known + sums(np.full_like(cut, typical), cut, weight), prior)
    target = NORMAL.inv_cdf(best)
    centre, scale = fit.predict(target)
    return Foresight(float(known[0] + weight.sum()), centre, scale, fit.degrees, math.log(prior.odds) + fit.evidence)


@dataclass(frozen=True)
class _Line:
    """The posterior of a, b and the variance: z is normal about a + b·t."""

    a: float
    b: float
    precision: tuple[float, float, float]
    """Of (a, b), in units of 1 / variance: aa, bb, ab."""
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
        """Return by how much likelier these scores are for good runs than for all, as a logarithm."""
        off = (z - self.a - self.b * t) ** 2 / self.variance
        return np.asarray((z * z - off - math.log(self.variance)) / 2, dtype=float)
