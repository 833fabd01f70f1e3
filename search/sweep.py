"""What a grid of runs says: for each point the mean over its repeats with its noise, as a table and as a figure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from search.errors import SearchError
from search.results import bpb_text, pooled_noise
from search.space import Params, Space
from search.study import LinkedStudy, finished

BAR = 24


@dataclass(frozen=True, kw_only=True)
class Point:
    """One combination of values with its runs; figures are means over the finished ones."""

    params: Params
    runs: int
    """How many finished."""
    others: str
    """What became of those that didn't, such as "1 diverged"; empty where all finished."""
    bpb: float
    """NaN where none finished."""
    half_width: float | None = None
    """Of the 95% interval of the mean, with the noise of all points' repeats pooled."""
    tokens: float = 0.0
    tokens_per_param: float = 0.0
    tokens_per_second: float = 0.0


def points(grid: Sequence[Params], trials: Sequence[FrozenTrial]) -> list[Point]:
    """Return all the grid's points, in the grid's order."""
    runs: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        if "grid" in trial.user_attrs:
            runs.setdefault(trial.user_attrs["grid"], []).append(trial)
    ended = [finished(runs.get(index, [])) for index in range(len(grid))]
    pooled = pooled_noise([_values(group) for group in ended])
    found = []
    for index, (params, group) in enumerate(zip(grid, ended, strict=True)):
        known: dict[str, Any] = {"params": params, "runs": len(group), "others": _others(runs.get(index, []))}
        if not group:
            found.append(Point(**known, bpb=float("nan")))
            continue
        for key in ("tokens", "tokens_per_param", "tokens_per_second"):
            known[key] = float(np.mean([t.user_attrs.get(key, 0) for t in group]))
        found.append(Point(**known, bpb=float(np.mean(_values(group))), half_width=pooled.half_width(len(group))))
    return found


def _values(trials: Sequence[FrozenTrial]) -> list[float]:
    return [t.value for t in trials if t.value is not None]


def _others(trials: Sequence[FrozenTrial]) -> str:
    """Count the runs that are not finished by what became of them; one that was queued again counts once."""
    retried = {t.user_attrs.get("retries") for t in trials}
    left = [t for t in trials if t.state != TrialState.COMPLETE and t.number not in retried]
    states = [
        t.user_attrs.get("failure", "failed") if t.state == TrialState.FAIL else t.state.name.lower() for t in left
    ]
    return ", ".join(f"{n} {state}" for state, n in sorted(Counter(states).items()))


def ordered(found: Sequence[Point], space: Space) -> list[Point]:
    """Return the points by the first setting, then by the second: numbers by size, others as the study file lists."""
    ranks = {name: _ranks(p.values() or ()) for name, p in space.parameters.items()}
    return sorted(found, key=lambda point: [ranks[n].get(point.params.get(n), -1) for n in ranks])


def _ranks(values: Sequence[Any]) -> Mapping[Any, int]:
    return {v: i for i, v in enumerate(sorted(values) if _numbers(values) else values)}


def _numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def sweep_points(study: LinkedStudy) -> list[Point]:
    """Return a grid study's points in order; raises `SearchError` for a study that searches."""
    if not study.plan.is_grid:
        raise SearchError(f'"{study.plan.name}" is no sweep: its file has no `sampler = "grid"`; see `status` instead')
    return ordered(points(study.plan.grid(), study.proxy_trials()), study.plan.space)


def sweep_table(study: LinkedStudy) -> Table:
    """Return the points with a bar each, as long as the point is above the best; the best is bold."""
    found = sweep_points(study)
    budget, names = study.plan.proxy.budget, list(study.plan.space.parameters)
    table = Table(title=f"{study.plan.name}: after {budget} of training", title_justify="left", pad_edge=False)
    for name in (*names, "BPB (± 95%)", "runs", "tokens, M", "tokens/parameter", "tokens/s"):
        table.add_column(name, justify="right")
    table.add_column("BPB above the best")
    if any(p.others for p in found):
        table.add_column("not finished")
    best = min((p.bpb for p in found if p.runs), default=0.0)
    most = max((p.bpb - best for p in found if p.runs), default=0.0)
    for p in found:
        values = [_shown(p.params.get(n)) for n in names]
        style = "bold" if p.bpb == best else ""
        table.add_row(*values, *_figures(p), _bar(p.bpb - best, most) if p.runs else "", p.others, style=style)
    return table


def _figures(p: Point) -> list[str]:
    if not p.runs:
        return ["–", "0", "–", "–", "–"]
    bpb = bpb_text(p.bpb, p.half_width)
    return [bpb, str(p.runs), f"{p.tokens / 1e6:.3g}", f"{p.tokens_per_param:.3g}", f"{p.tokens_per_second:,.0f}"]


def _bar(above: float, most: float) -> str:
    return f"{'▇' * round(BAR * above / most) if most else ''} {above:.4f}".lstrip()


def _shown(value: Any) -> str:
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def write_figure(study: LinkedStudy, path: Path) -> None:
    """Write one HTML file, without need of a network: BPB by the widest setting, a line for each value of the rest."""
    found = [p for p in sweep_points(study) if p.runs]
    if not found:
        raise SearchError(f'nothing has finished yet in "{study.plan.name}"; there is nothing to draw')
    title = f"{study.plan.name}: BPB after {study.plan.proxy.budget} of training (± 95%)"
    try:
        figure(found, list(study.plan.space.parameters), title).write_html(path, include_plotlyjs=True)
    except OSError as error:
        raise SearchError(f"--html is {path}, but it can't be written: {error.strerror}") from None


def figure(found: Sequence[Point], names: Sequence[str], title: str) -> Any:
    """Return plotly's figure of finished points, which are in order."""
    import plotly.graph_objects as go

    swept = max(names, key=lambda n: len({p.params[n] for p in found if n in p.params}))
    lines: dict[str, list[Point]] = {}
    for p in found:
        rest = ", ".join(f"{k} {_shown(v)}" for k, v in p.params.items() if k != swept)
        lines.setdefault(rest or "BPB", []).append(p)
    drawn = go.Figure()
    for name, group in lines.items():
        known = [p for p in group if swept in p.params]
        x, y = [p.params[swept] for p in known], [p.bpb for p in known]
        half = [p.half_width or 0.0 for p in known]
        if known:
            drawn.add_trace(go.Scatter(x=x, y=y, name=name, mode="lines+markers", error_y={"array": half}))
        for p in group:
            if swept not in p.params:  # a condition excludes it there: a level to compare with
                drawn.add_hline(y=p.bpb, line_dash="dot", annotation_text=name)
    drawn.update_layout(
        title=title, xaxis_title=swept, yaxis_title="validation bits per byte", template="simple_white", showlegend=True
    )
    if _spread([p.params[swept] for p in found if swept in p.params]):
        drawn.update_xaxes(type="log")
    return drawn


def _spread(values: Sequence[Any]) -> bool:
    return _numbers(values) and min(values, default=0) > 0 and max(values) / min(values) > 10
