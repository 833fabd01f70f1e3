"""What a grid of runs says: for each point the mean over its repeats with its noise, as a table and as a figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial
from rich.table import Table

from search.errors import SearchError
from search.results import pooled_noise
from search.space import Params
from search.study import LinkedStudy, finished

BAR = 24


@dataclass(frozen=True)
class Point:
    """One combination of values with its finished runs; means over them."""

    params: Params
    runs: int
    bpb: float
    half_width: float | None
    """Of the 95% interval of the mean, with the noise of all points' repeats pooled."""
    tokens: float
    tokens_per_param: float
    tokens_per_second: float


def points(grid: Sequence[Params], trials: Sequence[FrozenTrial]) -> list[Point]:
    """Return the grid's points that have finished runs, in the grid's order."""
    groups: dict[int, list[FrozenTrial]] = {}
    for trial in finished(list(trials)):
        if "grid" in trial.user_attrs:
            groups.setdefault(trial.user_attrs["grid"], []).append(trial)
    pooled = pooled_noise([[t.value for t in g if t.value is not None] for g in groups.values()])
    found = []
    for index, params in enumerate(grid):
        if group := groups.get(index):
            figures = {
                k: float(np.mean([t.user_attrs.get(k, 0) for t in group]))
                for k in ("tokens", "tokens_per_param", "tokens_per_second")
            }
            bpb = float(np.mean([t.value for t in group]))
            found.append(Point(params, len(group), bpb, pooled.half_width(len(group)), **figures))
    return found


def sweep_points(study: LinkedStudy) -> list[Point]:
    """Return a grid study's points; raises `SearchError` for a study that searches."""
    if not study.plan.is_grid:
        raise SearchError(f'"{study.plan.name}" is no sweep: its file has no `sampler = "grid"`; see `status` instead')
    return points(study.plan.grid(), study.proxy_trials())


def sweep_table(study: LinkedStudy) -> Table:
    """Return the points with a bar each, as long as the point is above the best; the best is bold."""
    found = sweep_points(study)
    table = Table(
        title=f"{study.plan.name}: after {study.plan.proxy.budget} of training", title_justify="left", pad_edge=False
    )
    names = list(study.plan.space.parameters)
    for name in names:
        table.add_column(name, justify="right")
    for name in ("BPB (± 95%)", "runs", "tokens, M", "tokens/parameter", "tokens/s"):
        table.add_column(name, justify="right")
    table.add_column("BPB above the best")
    best = min((p.bpb for p in found), default=0.0)
    most = max((p.bpb - best for p in found), default=0.0)
    for p in found:
        bpb = f"{p.bpb:.4f}" + (f" ± {p.half_width:.4f}" if p.half_width is not None else "")
        above = p.bpb - best
        figures = [str(p.runs), f"{p.tokens / 1e6:.1f}", f"{p.tokens_per_param:.1f}", f"{p.tokens_per_second:,.0f}"]
        bar = "▇" * round(BAR * above / most) if most else ""
        style = "bold" if above == 0 else ""
        table.add_row(*(_shown(p.params.get(n)) for n in names), bpb, *figures, f"{bar} {above:.4f}", style=style)
    return table


def _shown(value: Any) -> str:
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def write_figure(study: LinkedStudy, path: Path) -> None:
    """Write one HTML file, without need of a network: BPB by the first setting, a line for each value of the rest."""
    import plotly.graph_objects as go

    found = sweep_points(study)
    if not found:
        raise SearchError(f'nothing has finished yet in "{study.plan.name}"; there is nothing to draw')
    swept = _widest(study, found)
    lines: dict[str, list[Point]] = {}
    for p in found:
        rest = ", ".join(f"{k} {_shown(v)}" for k, v in p.params.items() if k != swept)
        lines.setdefault(rest or "BPB", []).append(p)
    figure = go.Figure()
    for name, group in lines.items():
        known = [p for p in group if swept in p.params]
        half = [p.half_width or 0.0 for p in known]
        x, y = [p.params[swept] for p in known], [p.bpb for p in known]
        if known:
            figure.add_trace(go.Scatter(x=x, y=y, name=name, mode="lines+markers", error_y={"array": half}))
        for p in group:
            if swept not in p.params:  # a condition excludes it there: a level to compare with
                figure.add_hline(y=p.bpb, line_dash="dot", annotation_text=name)
    title = f"{study.plan.name}: BPB after {study.plan.proxy.budget} of training (± 95%)"
    figure.update_layout(
        title=title, xaxis_title=swept, yaxis_title="validation bits per byte", template="simple_white"
    )
    if _spread([p.params[swept] for p in found if swept in p.params]):
        figure.update_xaxes(type="log")
    try:
        figure.write_html(path, include_plotlyjs=True)
    except OSError as error:
        raise SearchError(f"--html is {path}, but it can't be written: {error.strerror}") from None


def _widest(study: LinkedStudy, found: list[Point]) -> str:
    """Return the setting with the most values, the one to go along the x axis."""
    return max(study.plan.space.parameters, key=lambda n: len({p.params.get(n) for p in found}))


def _spread(values: list[Any]) -> bool:
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    return len(numbers) == len(values) and min(numbers, default=0) > 0 and max(numbers) / min(numbers) > 10
