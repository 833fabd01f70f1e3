"""Results of a replay, for people (tables, a figure) and for machines (JSON)."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from search.common import out_file
from search.replay.curves import CurveSet
from search.replay.many_studies import Estimate, ReplayTask
from search.replay.one_study import StudyLimit
from search.replay.pruners import brackets
from search.show.figures.output import page
from search.show.figures.style import COLOURS, SYMBOLS, template
from search.show.wording import counted

WIDE = 120
"""Least width of a terminal, in columns, to print an interval beside its mean."""
ROW_PIXELS, GAP_PIXELS = 380, 110
"""Height of a row of the figure, and of the gap below it."""
Figures = Mapping[str, Estimate]
"""Estimates by the figure's name."""


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """The figures of all pruners on one set under one limit."""

    curves: CurveSet
    limit: StudyLimit
    studies: int
    figures: Mapping[str, Figures]
    """Figures by the pruner's name."""
    brackets: Mapping[str, int] = field(default_factory=dict)
    """Number of brackets of each Hyperband pruner on this set, by the pruner's name."""

    @property
    def title(self) -> str:
        """The set, the limit and the number of studies, on one line."""
        if self.limit.resampled:
            return f"{self.curves.name}: {self.studies} studies of {self.limit.budget:.1f} full runs each"
        kind, end = "trials", f"{self.limit.trials} trials"
        if not self.limit.fixed_trials:
            kind, end = "budget", f"{self.limit.budget:g} full runs"
        return f"{self.curves.name} ({self.curves.runs} runs), fixed {kind}: {self.studies} studies of {end}"


def group_results(parts: Sequence[ReplayTask], results: Sequence[Figures], studies: int) -> list[ReplayResult]:
    """Return the figures grouped by set and limit, in the order of the tasks."""
    grouped: dict[tuple[int, StudyLimit], list[tuple[ReplayTask, Figures]]] = {}
    for part, figures in zip(parts, results, strict=True):
        grouped.setdefault((id(part.curves), part.limit), []).append((part, figures))
    return [_result(group, studies) for group in grouped.values()]


def _result(group: Sequence[tuple[ReplayTask, Figures]], studies: int) -> ReplayResult:
    first = group[0][0]
    return ReplayResult(
        curves=first.curves,
        limit=first.limit,
        studies=studies,
        figures={part.name: figures for part, figures in group},
        brackets={part.name: n for part, _ in group if (n := brackets(part.pruner)) is not None},
    )


@contextmanager
def progress_bar(console: Console, studies: int) -> Iterator[Callable[[], None]]:
    """Show progress in a terminal; yields the function to call after each study."""
    columns = (TextColumn("replaying"), BarColumn(30), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=studies)
        yield lambda: bar.advance(task)


# Column, figure, format of its mean.
_COLUMNS = (
    ("cost", "cost", "percent"),
    ("regret", "regret", "loss"),
    ("÷ span", "relative_regret", "percent"),
    ("rank", "rank", "percent"),
    ("P(best\npruned)", "best_pruned", "chance"),
    ("top 5%\npruned", "top_pruned", "percent"),
    ("tried", "tried", "count"),
)
_FOUND = ("found", "found", "found")
_LEGEND = """\
found: final loss of the pick, which is the best run that ended. cost: training spent per trial, of a full run. \
regret: found, above the best one's, in units of the loss. ÷ span: the same, of what the median run's is above the \
best one's. rank: share of runs better than the pick. Regret and rank are against the runs drawn where trials are \
fixed, against the whole set where the budget is. P(best pruned): share of studies whose best run was stopped. top \
5% pruned: share that was stopped of the best 5% tried. tried: runs that the budget was enough for. Means over \
studies, which draw from the same runs in different order, with 95% intervals (± Student's t; Wilson's for P(best \
pruned))."""


def table(result: ReplayResult, width: int) -> Table:
    """Return the result of one set under one limit as a table for a terminal of this width."""
    table = _empty_table(result.title)
    columns = [c for c in _COLUMNS if c[0] != "tried" or not result.limit.fixed_trials]
    if result.limit.resampled:
        columns = [_FOUND, *columns]
    for heading, _, _ in columns:
        table.add_column(heading, justify="right")
    for name, figures in result.figures.items():
        shown = {**figures, "found": _found(result, figures["regret"])}
        cells = [_cell(shown[figure], form, " " if width >= WIDE else "\n") for _, figure, form in columns]
        table.add_row(_row(result, name), *cells)
    return table


def _found(result: ReplayResult, regret: Estimate) -> Estimate:
    """Return the pick's final loss: that of the best run and the regret."""
    best = float(result.curves.final.min())
    ends = (None if end is None else best + end for end in (regret.low, regret.high))
    return Estimate(best + regret.mean, *ends)


def _row(result: ReplayResult, name: str) -> str:
    """Return a pruner's name with its number of brackets, if it has any."""
    count = result.brackets.get(name)
    return name if count is None else f"{name}, {counted(count, 'bracket')}"


def _empty_table(title: str) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", pad_edge=False, padding=(0, 1, 0, 0), box=box.SIMPLE_HEAD
    )
    table.add_column("pruner", min_width=12)
    return table


def _cell(e: Estimate, form: str, between: str) -> str:
    text = _number(e.mean, form)
    if e.low is None or e.high is None:
        return text
    if form == "chance":
        return f"{text}{between}{100 * e.low:.0f}–{100 * e.high:.0f}"
    return f"{text}{between}±{_number(e.high - e.mean, form).rstrip('%')}"


def _number(value: float, form: str) -> str:
    if form in ("percent", "chance"):
        return f"{100 * value:.1f}%" if form == "percent" else f"{100 * value:.0f}%"
    if form == "found":
        return f"{value:.4f}"
    return f"{value:.1f}" if form == "count" else f"{value:.2g}"


def overall(results: Sequence[ReplayResult]) -> Table:
    """Return the means over all sets under one kind of limit, and the worst set's figures."""
    kind = "fixed trials" if results[0].limit.fixed_trials else "fixed budget"
    table = _empty_table(f"{len(results)} sets, {kind}: mean over the sets, and the worst set's")
    for heading in ("cost", "÷ span", "worst", "rank", "worst", "P(best\npruned)", "worst"):
        table.add_column(heading, justify="right")
    for name in results[0].figures:
        cells = []
        for figure in ("cost", "relative_regret", "rank", "best_pruned"):
            means = [o.figures[name][figure].mean for o in results]
            worst = [] if figure == "cost" else [_number(max(means), "percent")]
            cells += [_number(float(np.mean(means)), "percent"), *worst]
        table.add_row(name, *cells)
    return table


def terminal(results: Sequence[ReplayResult], console: Console) -> Group:
    """Return all results for a terminal: each set's notes and tables, and the means over the sets."""
    parts: list[Any] = []
    shown_sets: set[int] = set()
    for result in results:
        if id(result.curves) not in shown_sets:
            parts += [Text(f"{result.curves.name}: {note}.") for note in result.curves.notes]
        shown_sets.add(id(result.curves))
        parts += [Text(), table(result, console.width)]
    whole_sets = [o for o in results if not o.limit.resampled]
    if len({id(o.curves) for o in whole_sets}) > 1:
        for fixed in (True, False):
            parts += [Text(), overall([o for o in whole_sets if o.limit.fixed_trials == fixed])]
    return Group(*parts, Text(), Text(_LEGEND, style="dim"))


def as_json(results: Sequence[ReplayResult], seed: int) -> str:
    """Return the results for machines; each figure is a fraction, or in units of the loss."""
    rows = [
        {
            "set": o.curves.name,
            "runs": o.curves.runs,
            "reports": len(o.curves.steps) + 1,
            "notes": list(o.curves.notes),
            "trials": o.limit.trials,
            "budget": None if o.limit.fixed_trials else o.limit.budget,
            "same_money": o.limit.resampled,
            "studies": o.studies,
            "seed": seed,
            "brackets": dict(o.brackets),
            "pruners": {n: {k: asdict(e) for k, e in figures.items()} for n, figures in o.figures.items()},
        }
        for o in results
    ]
    return json.dumps(rows, indent=2, allow_nan=False)


def write_figure(results: Sequence[ReplayResult], path: Path) -> None:
    """Write one HTML file that needs no network: cost against regret and against P(best pruned)."""
    title = "Pruners on finished runs: what they cost, what they lose"
    out_file.write(path, page(figure(results), title, caption=_LEGEND), "--html")


def figure(results: Sequence[ReplayResult]) -> Any:
    """Return a plotly figure: a row for each set and limit, a colour for each pruner."""
    from plotly.subplots import make_subplots

    titles = [t for o in results for t in (o.title, "")]
    gap = GAP_PIXELS / (ROW_PIXELS * len(results))
    plot = make_subplots(rows=len(results), cols=2, subplot_titles=titles, vertical_spacing=gap)
    for row, o in enumerate(results, start=1):
        for index, (name, figures) in enumerate(o.figures.items()):
            for col, y in ((1, "relative_regret"), (2, "best_pruned")):
                style = {"color": COLOURS[index % len(COLOURS)], "symbol": SYMBOLS[index % len(SYMBOLS)]}
                plot.add_trace(_mark(name, figures, y, style, row == col == 1), row=row, col=col)
        plot.update_xaxes(title_text="cost per trial, full runs", rangemode="tozero", row=row)
        plot.update_yaxes(title_text="regret ÷ (median − best)", rangemode="tozero", row=row, col=1)
        plot.update_yaxes(title_text="P(best pruned)", range=[-0.05, 1.05], row=row, col=2)
    plot.update_annotations(xanchor="left", x=0, font_size=14, selector=lambda a: True)
    beside = {"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top"}
    legend = {"title": "pruner, 95% intervals", **beside}
    plot.update_layout(template=template(), height=180 + ROW_PIXELS * len(results), legend=legend)
    return plot


def _mark(name: str, figures: Figures, y: str, style: Mapping[str, str], in_legend: bool) -> Any:
    import plotly.graph_objects as go

    def error(e: Estimate) -> dict[str, Any]:
        low, high = (e.mean if e.low is None else e.low), (e.mean if e.high is None else e.high)
        return {"type": "data", "symmetric": False, "array": [high - e.mean], "arrayminus": [e.mean - low]}

    return go.Scatter(
        x=[figures["cost"].mean],
        y=[figures[y].mean],
        error_x=error(figures["cost"]),
        error_y=error(figures[y]),
        name=name,
        legendgroup=name,
        showlegend=in_legend,
        mode="markers",
        cliponaxis=False,
        marker={**style, "size": 10},
    )
