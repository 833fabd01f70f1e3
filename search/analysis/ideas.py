"""A sweep of ideas: each idea's BPB beside the plain configuration's, with a verdict that all comparisons share."""

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from search.analysis.grid import Point, points
from search.common.dunnett import MOST_SEEDS, dunnett_quantile, seeds_against_control
from search.study.plan import PLAIN, Plan
from search.study.results import Noise, pooled_noise
from search.study.trials import N_PARAMS, TOKENS_PER_SECOND, attributes_of, finished


class Verdict(enum.Enum):
    """Answer to the question whether an idea helps here, within this budget."""

    HELPS = "helps"
    HURTS = "hurts"
    CANT_TELL = "can't tell"
    NO_RUNS = "no finished run"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One idea beside the plain configuration."""

    name: str
    point: Point
    verdict: Verdict
    difference: float | None = None
    """Mean BPB minus the plain configuration's, below 0 if the idea is better; None without runs of both."""
    half_width: float | None = None
    """Half of its interval; all ideas' intervals hold together at 95%. None if no point ran twice."""
    speed: float | None = None
    """Tokens per second ÷ the plain configuration's."""
    parameters: float | None = None
    """Number of parameters."""
    seeds: int | None = None
    """Seeds of each idea that would tell a true difference of this size, with a power of 80%; None: above 1,000."""

    @property
    def sentence(self) -> str:
        """The verdict in words, with what it would take where it can't be told."""
        if self.verdict is Verdict.NO_RUNS:
            return self.point.others or str(self.verdict.value)
        if self.verdict is not Verdict.CANT_TELL:
            return f"{self.verdict.value}; {self.point.others}" if self.point.others else str(self.verdict.value)
        if self.half_width is None:
            return "can't tell; repeats would"
        return f"can't tell; {self.seeds if self.seeds else f'over {MOST_SEEDS:,}'} seeds would"


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """All ideas of a sweep beside the plain configuration."""

    plain: Point
    noise: Noise
    """Noise from seed to seed, pooled over all points, the plain one included."""
    ideas: Sequence[Comparison]
    """In the study file's order."""


def compared(plan: Plan, trials: Sequence[FrozenTrial]) -> Comparisons:
    """Return each idea beside the plain configuration, by Dunnett's two-sided test at 95%."""
    plain, *others = points(plan.grid(), trials)
    groups: dict[int, list[float]] = {}
    for trial in finished(list(trials)):
        if (index := attributes_of(trial).grid) is not None and trial.value is not None:
            groups.setdefault(index, []).append(trial.value)
    noise = pooled_noise(list(groups.values()))
    quantile = _quantile(plain, others, noise)
    ideas = [
        _compared(plan, name, point, plain, noise, quantile) for name, point in zip(plan.ideas, others, strict=True)
    ]
    return Comparisons(plain=plain, noise=noise, ideas=ideas)


def _quantile(plain: Point, others: Sequence[Point], noise: Noise) -> float | None:
    runs = tuple(point.runs for point in others if point.runs)
    return dunnett_quantile(plain.runs, runs, noise.degrees) if plain.runs and runs and noise.degrees else None


def _compared(plan: Plan, name: str, point: Point, plain: Point, noise: Noise, quantile: float | None) -> Comparison:
    if not point.runs or not plain.runs:
        return Comparison(name=name, point=point, verdict=Verdict.NO_RUNS, parameters=_mean(point, N_PARAMS))
    difference, half, verdict = point.bpb - plain.bpb, None, Verdict.CANT_TELL
    if noise.deviation is not None and quantile is not None:
        half = quantile * noise.deviation * math.sqrt(1 / point.runs + 1 / plain.runs)
        if abs(difference) > half:
            verdict = Verdict.HELPS if difference < 0 else Verdict.HURTS
    unclear = verdict is Verdict.CANT_TELL and noise.deviation is not None
    speeds = _mean(point, TOKENS_PER_SECOND), _mean(plain, TOKENS_PER_SECOND)
    return Comparison(
        name=name,
        point=point,
        verdict=verdict,
        difference=difference,
        half_width=half,
        speed=speeds[0] / speeds[1] if speeds[0] and speeds[1] else None,
        parameters=_mean(point, N_PARAMS),
        seeds=seeds_against_control(difference, noise.deviation or 0.0, len(plan.ideas), plan.plain_share)
        if unclear
        else None,
    )


def _mean(point: Point, measure: str) -> float | None:
    return point.means[measure].value if measure in point.means else None


def summary(comparisons: Comparisons) -> str:
    """Return the verdicts in a sentence or two; empty before the plain configuration and an idea have finished."""
    told = [c for c in comparisons.ideas if c.difference is not None]
    if not told:
        return ""
    by_verdict = {v: [c.name for c in told if c.verdict is v] for v in Verdict}
    parts = [f"{', '.join(by_verdict[v])} {words}" for v, words in _WORDS.items() if by_verdict[v]]
    missing = len(comparisons.ideas) - len(told)
    deviation = comparisons.noise.deviation
    noise = f" Noise from seed to seed: {deviation:.4f} BPB." if deviation is not None else ""
    rest = f" {missing} of {len(comparisons.ideas)} have no finished run." if missing else ""
    return f"Beside the {PLAIN} configuration's {comparisons.plain.bpb:.4f} BPB: {'; '.join(parts)}.{noise}{rest}"


_WORDS = {
    Verdict.HELPS: "better by more than noise",
    Verdict.HURTS: "worse by more than noise",
    Verdict.CANT_TELL: "within noise",
}
