"""What a grid of runs says: for each point the mean over its repeats with its noise, and all of them as a table."""

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
    N_PARAMS,
    TOKENS,
    TOKENS_PER_PARAM,
    TOKENS_PER_SECOND,
    TRAIN_BPB,
    attributes_of,
    finished,
)

MEASURES = ("val_bpb", TRAIN_BPB, N_PARAMS, TOKENS, TOKENS_PER_PARAM, TOKENS_PER_SECOND, BYTES_PER_TOKEN)
"""What is known of a run: its value, and attributes of these names."""
PROPORTIONAL = {TOKENS, TOKENS_PER_PARAM, TOKENS_PER_SECOND}
"""Measures whose noise grows with them: a machine is so many percent faster or slower."""


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over repeats."""

    value: float
    half_width: float | None = None
    """Of its 95% interval, with the noise of all points' repeats pooled; None where nothing is repeated."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One combination of values with its runs; figures are means over the finished ones."""

    params: Params
    runs: int
    """How many finished."""
    others: str = ""
    """What became of those that didn't, such as "1 diverged"; empty where all finished."""
    means: Mapping[str, Mean] = field(default_factory=dict)
    """By measure; empty where none finished."""

    @property
    def failed(self) -> bool:
        """Whether none finished and one failed by its own fault."""
        return not self.runs and any(cause in self.others for cause in OWN_FAULTS)

    @property
    def bpb(self) -> float:
        """Mean final BPB; NaN where none finished."""
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
    found: list[Mean | None] = []
    for group, mean, unit in zip(groups, means, units, strict=True):
        half = noise.half_width(len(group))
        found.append(Mean(value=mean, half_width=None if half is None else half * unit) if group else None)
    return found


def _values(trials: Sequence[FrozenTrial], key: str) -> list[float]:
    values = [t.value if key == "val_bpb" else t.user_attrs.get(key) for t in trials]
    return [float(v) for v in values if v is not None]


def _others(trials: Sequence[FrozenTrial]) -> str:
    """Count the runs that are not finished by what became of them; one that was queued again counts once."""
    retried = {attributes_of(t).retries for t in trials}
    left = [t for t in trials if t.state != TrialState.COMPLETE and t.number not in retried]
    states = [
        attributes_of(t).failure or "failed" if t.state == TrialState.FAIL else t.state.name.lower() for t in left
    ]
    return ", ".join(f"{n} {state}" for state, n in sorted(Counter(states).items()))


def ordered(found: Sequence[Point], space: Space) -> list[Point]:
    """Return the points by the first setting, then by the second: numbers by size, others as the study file lists."""
    ranks = {name: _ranks(p.values() or ()) for name, p in space.parameters.items()}
    return sorted(found, key=lambda point: [ranks[n].get(point.params.get(n), -1) for n in ranks])


def _ranks(values: Sequence[Any]) -> Mapping[Any, int]:
    return {v: i for i, v in enumerate(sorted(values) if numbers(values) else values)}


def numbers(values: Sequence[Any]) -> bool:
    """Return whether all are numbers."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def sweep_points(study: LinkedStudy) -> list[Point]:
    """Return a grid study's points in order; raises `SearchError` for a study that searches."""
    if not study.plan.is_grid:
        raise SearchError(f'"{study.plan.name}" is no sweep: its file has no `sampler = "grid"`; see `status` instead')
    return points_of(study.plan, study.proxy_trials())


def points_of(plan: Plan, trials: Sequence[FrozenTrial]) -> list[Point]:
    """Return a grid's points in order; none for a study that searches."""
    return ordered(points(plan.grid(), trials), plan.space) if plan.is_grid else []


def shown_bpb(p: Point) -> str:
    """Return a point's BPB with its interval, where it has one."""
    return bpb_text(p.bpb, p.means["val_bpb"].half_width)


def shown(value: Any) -> str:
    """Return a setting's value as people read it."""
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
