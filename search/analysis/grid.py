"""Results of a grid of runs: for each point, the mean of each measure over repeats, with its interval."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search.common.errors import SearchError
from search.study.plan import Plan
from search.study.results import OWN_FAULTS, bpb_text, pooled_noise
from search.study.space import Params, Space
from search.study.study import LinkedStudy
from search.study.trials import (
    BYTES_PER_TOKEN,
    N_ACTIVE_PARAMS,
    N_PARAMS,
    TOKENS,
    TOKENS_PER_ACTIVE_PARAM,
    TOKENS_PER_PARAM,
    TOKENS_PER_SECOND,
    TRAIN_BPB,
    attributes_of,
    finished,
)

SIZES = (N_PARAMS, N_ACTIVE_PARAMS, TOKENS, TOKENS_PER_PARAM, TOKENS_PER_ACTIVE_PARAM)
MEASURES = ("val_bpb", TRAIN_BPB, *SIZES, TOKENS_PER_SECOND, BYTES_PER_TOKEN)
"""Measures of a run: its value, and the attributes with these keys."""
PROPORTIONAL = {TOKENS, TOKENS_PER_PARAM, TOKENS_PER_ACTIVE_PARAM, TOKENS_PER_SECOND}
"""Measures whose noise is proportional to their size: machines differ in speed by a percentage."""


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over repeats."""

    value: float
    half_width: float | None = None
    """Half-width of its 95% interval, with the noise pooled over all points; None if no point is repeated."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One combination of values with its runs; figures are means over the finished ones."""

    params: Params
    runs: int
    """Number of finished runs."""
    others: str = ""
    """States of its other runs, such as "1 diverged"; empty if all finished."""
    means: Mapping[str, Mean] = field(default_factory=dict)
    """Mean of each measure, by its key; empty if no run finished."""

    @property
    def failed(self) -> bool:
        """Whether no run finished and one failed by its own fault."""
        return not self.runs and any(cause in self.others for cause in OWN_FAULTS)

    @property
    def bpb(self) -> float:
        """Mean final BPB; NaN if no run finished."""
        return self.means["val_bpb"].value if "val_bpb" in self.means else float("nan")


def points(grid: Sequence[Params], trials: Sequence[FrozenTrial]) -> list[Point]:
    """Return all the grid's points, in the grid's order."""
    runs: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        if (index := attributes_of(trial).grid) is not None:
            runs.setdefault(index, []).append(trial)
    ended = [finished(runs.get(index, [])) for index in range(len(grid))]
    means = {key: _means(key, [_values(group, key) for group in ended]) for key in MEASURES}
    return [
        Point(
            params=params,
            runs=len(ended[i]),
            others=_others(runs.get(i, [])),
            means={key: mean for key in MEASURES if (mean := means[key][i]) is not None},
        )
        for i, params in enumerate(grid)
    ]


def _means(key: str, groups: Sequence[Sequence[float]]) -> list[Mean | None]:
    """Return each group's mean with its interval; None for an empty group."""
    means = [float(np.mean(g)) if g else 0.0 for g in groups]
    units = [abs(m) or 1.0 if key in PROPORTIONAL else 1.0 for m in means]
    noise = pooled_noise([[v / unit for v in g] for g, unit in zip(groups, units, strict=True)])
    results: list[Mean | None] = []
    for group, mean, unit in zip(groups, means, units, strict=True):
        half = noise.half_width(len(group))
        results.append(Mean(value=mean, half_width=None if half is None else half * unit) if group else None)
    return results


def _values(trials: Sequence[FrozenTrial], key: str) -> list[float]:
    values = [t.value if key == "val_bpb" else t.user_attrs.get(key) for t in trials]
    return [float(v) for v in values if v is not None]


def _others(trials: Sequence[FrozenTrial]) -> str:
    """Return the counts of unfinished runs by state, as text; a lost run and its retry count once."""
    retried = {attributes_of(t).retries for t in trials}
    left = [t for t in trials if t.state != TrialState.COMPLETE and t.number not in retried]
    states = [
        attributes_of(t).failure or "failed" if t.state == TrialState.FAIL else t.state.name.lower() for t in left
    ]
    return ", ".join(f"{n} {state}" for state, n in sorted(Counter(states).items()))


def ordered(unordered: Sequence[Point], space: Space) -> list[Point]:
    """Return the points sorted by the first setting, then the second: numbers by size, others as in the study file."""
    ranks = {name: _ranks(p.values() or ()) for name, p in space.parameters.items()}
    return sorted(unordered, key=lambda point: [ranks[n].get(point.params.get(n), -1) for n in ranks])


def _ranks(values: Sequence[Any]) -> Mapping[Any, int]:
    return {v: i for i, v in enumerate(sorted(values) if numbers(values) else values)}


def numbers(values: Sequence[Any]) -> bool:
    """Return whether all values are numbers."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def sweep_points(study: LinkedStudy) -> list[Point]:
    """Return a grid study's points in order; raises `SearchError` for a study that searches."""
    if not study.plan.is_grid:
        raise SearchError(f'"{study.plan.name}" is no sweep: its file has no `sampler = "grid"`; see `status` instead')
    return points_of(study.plan, study.proxy_trials())


def points_of(plan: Plan, trials: Sequence[FrozenTrial]) -> list[Point]:
    """Return a grid's points in order; none for a study that searches."""
    return ordered(points(plan.grid(), trials), plan.space) if plan.is_grid else []


def point_bpb_text(p: Point) -> str:
    """Return a point's BPB as text, with its interval if it has one."""
    return bpb_text(p.bpb, p.means["val_bpb"].half_width)


def value_text(value: Any) -> str:
    """Return a setting's value as text."""
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
