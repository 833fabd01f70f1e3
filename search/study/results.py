"""A study's results: confirmed configurations with their noise, and whether the proxy predicted them."""

import enum
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Protocol

import numpy as np
from optuna.trial import FrozenTrial

from search.common.stats import kendall_tau, least_gap
from search.common.student import student_quantile
from search.study.plan import Plan
from search.study.study import LinkedStudy
from search.study.trials import (
    SEED,
    attributes_of,
    configuration_key,
    final_budget,
    finished,
    label,
    trial_params,
)

OWN_FAULTS = {"diverged": "diverged", "out_of_memory": "didn't fit into memory", "error": "ended in errors"}
"""Causes of failure that are the configuration's own, with their wording in sentences."""


@dataclass(frozen=True)
class Confirmed:
    """One configuration with its finished confirmation runs."""

    baseline: str | None
    proxy_number: int | None
    params: Mapping[str, Any]
    """Searched settings, and for a baseline its own."""
    proxy_bpb: float | None
    bpb_by_seed: Mapping[int, float]
    runs: tuple[FrozenTrial, ...]
    lr_scale: float = 1.0
    """Factor on the proxy's learning rate; `params` holds the rate that was trained."""
    failed: int = 0
    """Confirmation runs that failed by their own fault; a configuration with any ranks behind all without."""

    @property
    def searched(self) -> Mapping[str, Any]:
        """Those of `params` that Optuna knows: the settings that the configuration shares with drawn ones."""
        return {name: value for name, value in self.params.items() if name in self.runs[0].params}

    @property
    def label(self) -> str:
        """Name for people: the baseline's name, or the number of the proxy trial."""
        return label(self.baseline, self.proxy_number, self.lr_scale)

    @property
    def key(self) -> str:
        """Name in the keys of attributes."""
        name = f"baseline:{self.baseline}" if self.baseline else str(self.proxy_number)
        return name if self.lr_scale == 1 else f"{name}×{self.lr_scale:g}"

    @property
    def seeds(self) -> int:
        """Number of finished confirmation runs, each with its own seed."""
        return len(self.bpb_by_seed)

    @property
    def mean_bpb(self) -> float:
        """Mean confirmed BPB over seeds."""
        return float(np.mean(list(self.bpb_by_seed.values())))


@dataclass(frozen=True)
class Noise:
    """Noise of BPB from seed to seed, pooled over configurations."""

    deviation: float | None
    """Standard deviation; None if no configuration ran with two seeds."""
    degrees: int
    """Degrees of freedom of the deviation."""

    def half_width(self, n_seeds: int, confidence: float = 0.95) -> float | None:
        """Return half the width of the confidence interval of a mean over `n_seeds` seeds, by Student's t."""
        if self.deviation is None or n_seeds < 1:
            return None
        return student_quantile(self.degrees, confidence) * self.deviation / math.sqrt(n_seeds)

    def least_gap(self, one_seeds: int, other_seeds: int) -> float | None:
        """Return the smallest difference of two means over this many seeds that noise doesn't explain, at 95%."""
        return None if self.deviation is None else least_gap(self.deviation, self.degrees, (one_seeds, other_seeds))

    def prediction_half_width(self, n_seeds: int, confidence: float = 0.95) -> float | None:
        """Return half the width of one new run's prediction interval, given a mean over n seeds: t · s · √(1 + 1/n)."""
        half = self.half_width(n_seeds, confidence)
        return None if half is None else half * math.sqrt(n_seeds + 1)


class Significance(enum.Enum):
    """Whether seed noise explains the difference of two means, at 95%."""

    NOT_KNOWN = "noise isn't known, since no configuration ran with two seeds"
    MAY_BE_CHANCE = "noise may explain the difference"
    MORE_THAN_NOISE = "the difference is more than noise explains"


@dataclass(frozen=True)
class Lead:
    """A configuration's lead over another, compared with seed noise."""

    gap: float
    """BPB by which its mean is lower; negative if it is higher."""
    least: float | None
    """Smallest gap that noise doesn't explain at 95%; None if noise isn't known."""
    by_failure: int = 0
    """1 if only the other failed in a confirmation run, -1 if only this one did; unless 0, it decides, not the gap."""

    @property
    def significance(self) -> Significance:
        """Whether noise explains the difference, in either direction."""
        if self.by_failure:
            return Significance.MORE_THAN_NOISE
        if self.least is None:
            return Significance.NOT_KNOWN
        return Significance.MORE_THAN_NOISE if abs(self.gap) >= self.least and self.gap else Significance.MAY_BE_CHANCE

    @property
    def in_noise(self) -> float:
        """Gap in units of the smallest one that noise doesn't explain; 0 if that isn't known."""
        return self.gap / self.least if self.least else 0.0

    @property
    def proven(self) -> bool:
        """Whether it is ahead by more than noise explains."""
        return self.significance is Significance.MORE_THAN_NOISE and (self.by_failure or self.gap) > 0


class Measured(Protocol):
    """A configuration with confirmation runs."""

    @property
    def mean_bpb(self) -> float:
        """Mean confirmed BPB over seeds."""

    @property
    def seeds(self) -> int:
        """Number of finished confirmation runs."""

    @property
    def failed(self) -> int:
        """Number of confirmation runs that failed by their own fault."""


def lead(one: Measured, other: Measured, noise: Noise) -> Lead:
    """Return one configuration's lead over another, given the noise from seed to seed."""
    least = noise.least_gap(one.seeds, other.seeds)
    return Lead(other.mean_bpb - one.mean_bpb, least, bool(other.failed) - bool(one.failed))


def bpb_text(bpb: float, half_width: float | None) -> str:
    """Return a BPB as text, with its 95% interval if that is known."""
    return f"{bpb:.4f}" + (f" ± {half_width:.4f}" if half_width is not None else "")


def pooled_noise(groups: Sequence[Sequence[float]]) -> Noise:
    """Return √(Σ squared deviations from each group's mean / Σ (n − 1)) over groups of at least two values."""
    repeated = [np.asarray(g, dtype=float) for g in groups if len(g) > 1]
    degrees = sum(len(g) - 1 for g in repeated)
    if not degrees:
        return Noise(None, 0)
    return Noise(math.sqrt(sum(float(((g - g.mean()) ** 2).sum()) for g in repeated) / degrees), degrees)


@dataclass(frozen=True)
class Transfer:
    """Kendall's τ between proxy and confirmed BPB, with an interval if there are enough pairs."""

    pairs: int
    """Number of configurations with both."""
    tau: float | None
    low: float | None
    high: float | None

    recall: float | None = None
    """Share of the best half by confirmation that is in the best half by proxy."""

    @property
    def proven(self) -> bool:
        """Whether τ ≤ 0 can be excluded."""
        return self.low is not None and self.low > 0

    @property
    def figures(self) -> str:
        """The figures as text, to stand in brackets."""
        if self.tau is None or self.low is None or self.high is None:
            return f"{self.pairs} pairs, of 5 needed to tell"
        text = f"Kendall's τ = {self.tau:.2f}, 95% interval {self.low:.2f} … {self.high:.2f}, {self.pairs} pairs"
        return text + (f", {self.recall:.0%} of the best half predicted" if self.recall is not None else "")

    @property
    def verdict(self) -> str:
        """The result as a sentence."""
        if self.tau is None:
            pairs = "1 pair is" if self.pairs == 1 else f"{self.pairs} pairs are"
            return f"Transfer: {pairs} too few to tell whether the proxy predicts (5 are needed)."
        if self.proven:
            return f"Transfer: the proxy predicts the confirmed BPB ({self.figures})."
        return (
            f"Transfer: the proxy is NOT shown to predict the confirmed BPB ({self.figures}; τ ≤ 0 can't be excluded). "
            "Trust only what was confirmed."
        )


def transfer_check(proxy_bpb: Sequence[float], confirmed_bpb: Sequence[float]) -> Transfer:
    """Return Kendall's τ-b with a 95% interval.

    The interval is Fieller, Hartley & Pearson's (Biometrika 44, 1957): atanh τ is about normal with variance
    0.437 / (n − 4), which needs n ≥ 5. Few pairs in perfect order prove little, and atanh 1 is infinite: in that case
    τ is taken to be halfway between 1 and its value with two neighbours exchanged, 1 − 4/(n(n − 1)).
    """
    n = len(proxy_bpb)
    if n < 5:
        return Transfer(n, None, None, None)
    tau = kendall_tau(proxy_bpb, confirmed_bpb)
    if math.isnan(tau):
        return Transfer(n, None, None, None)
    most = 1 - 2 / (n * (n - 1))
    z = math.atanh(min(max(tau, -most), most))
    error = 1.96 * math.sqrt(0.437 / (n - 4))
    best = [set(np.argsort(bpb, kind="stable")[: n // 2].tolist()) for bpb in (proxy_bpb, confirmed_bpb)]
    low, high = min(math.tanh(z - error), tau), max(math.tanh(z + error), tau)
    return Transfer(n, tau, low, high, len(best[0] & best[1]) / (n // 2))


def confirmed(study: LinkedStudy) -> list[Confirmed]:
    """Return all configurations with a finished confirmation run, the best mean BPB first."""
    return confirmed_among(study.plan, study.proxy_trials(), study.confirm_trials())


def confirmed_among(plan: Plan, proxies: Sequence[FrozenTrial], runs: Sequence[FrozenTrial]) -> list[Confirmed]:
    """Return the same from the proxy trials and confirmation runs themselves."""
    proxies = finished(list(proxies))
    by_number = {t.number: t for t in proxies}
    by_baseline = {name: t for t in proxies if (name := attributes_of(t).baseline) is not None}
    groups: dict[tuple[str | None, int | None, float], list[FrozenTrial]] = {}
    for run in finished(list(runs)):
        if final_budget(plan, run) and attributes_of(run).seed is not None:
            groups.setdefault(configuration_key(run), []).append(run)
    faults = [r for r in runs if attributes_of(r).failure in OWN_FAULTS]
    failures = Counter(configuration_key(r) for r in faults if final_budget(plan, r))
    configurations = []
    for (baseline, number, scale), ended in groups.items():
        proxy = by_baseline.get(baseline) if baseline else by_number.get(number or 0)
        configurations.append(
            Confirmed(
                baseline=baseline,
                proxy_number=proxy.number if proxy else number,
                params=plan.scaled(trial_params(ended[0]), scale),
                proxy_bpb=proxy.value if proxy and scale == 1 else None,
                bpb_by_seed={r.user_attrs[SEED]: r.value for r in ended if r.value is not None},
                runs=tuple(ended),
                lr_scale=scale,
                failed=failures[baseline, number, scale],
            )
        )
    return sorted(configurations, key=lambda c: (c.failed > 0, c.mean_bpb))


def ended_on(runs: Sequence[FrozenTrial], signs: Mapping[int, datetime]) -> date | None:
    """Return the UTC day on which the last of these runs ended; None without runs.

    `signs` are their last signs of life by trial id, on the server's clock; for a run without one, the end that
    Optuna stored on its machine's clock counts.
    """
    ends = [signs.get(r._trial_id) or (r.datetime_complete and r.datetime_complete.astimezone(UTC)) for r in runs]
    return max((when.astimezone(UTC).date() for when in ends if when is not None), default=None)


def transfer(configurations: Sequence[Confirmed]) -> Transfer:
    """Return the transfer check over confirmed configurations."""
    pairs = [(c.proxy_bpb, c.mean_bpb) for c in configurations if c.proxy_bpb is not None]
    return transfer_check([x for x, _ in pairs], [y for _, y in pairs])


def noise(configurations: Sequence[Confirmed]) -> Noise:
    """Return the noise from seed to seed, pooled over confirmed configurations."""
    return pooled_noise([list(c.bpb_by_seed.values()) for c in configurations])
