"""What a replay says, for people (a table, a figure) and for machines (JSON)."""

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
from search.replay.many_studies import Estimate, Part
from search.replay.one_study import Setting
from search.replay.pruners import brackets
from search.show.figures.output import page
from search.show.figures.style import COLOURS, SYMBOLS, template
from search.show.wording import counted

WIDE = 120
"""Columns of a terminal from which an interval stands beside its mean."""
ROW_PIXELS, GAP_PIXELS = 380, 110
"""Of the figure: a row with the gap below it."""
Figures = Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All pruners on one set in one setting."""

    curves: CurveSet
    setting: Setting
    studies: int
    figures: Mapping[str, Figures]
    """By the pruner's name."""
    brackets: Mapping[str, int] = field(default_factory=dict)
    """How many a Hyperband pruner has on this set, by its name."""

    @property
    def title(self) -> str:
        """What was replayed, on one line."""
        kind, end = "trials", f"{self.setting.trials} trials"
        if not self.setting.fixed_trials:
            kind, end = "budget", f"{self.setting.budget:g} full runs"
        return f"{self.curves.name} ({self.curves.runs} runs), fixed {kind}: {self.studies} studies of {end}"


def outcomes(parts: Sequence[Part], found: Sequence[Figures], studies: int) -> list[Outcome]:
    """Return the figures by set and setting, in the order of the parts."""
    grouped: dict[tuple[int, Setting], list[tuple[Part, Figures]]] = {}
    for part, figures in zip(parts, found, strict=True):
        grouped.setdefault((id(part.curves), part.setting), []).append((part, figures))
    return [_outcome(group, studies) for group in grouped.values()]


def _outcome(group: Sequence[tuple[Part, Figures]], studies: int) -> Outcome:
    first = group[0][0]
    return Outcome(
        curves=first.curves,
        setting=first.setting,
        studies=studies,
        figures={part.name: figures for part, figures in group},
        brackets={part.name: n for part, _ in group if (n := brackets(part.pruner)) is not None},
    )


@contextmanager
def progress_bar(console: Console, studies: int) -> Iterator[Callable[[], None]]:
    """Show how many studies are replayed, in a terminal; yields what to call after each."""
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
_LEGEND = """\
cost: training spent per trial, of a full run. regret: final loss of the pick, which is the best run that ended, \
above the best one's, in units of the loss. ÷ span: the same, of what the median run's is above the best one's. \
rank: share of runs better than the pick. Regret and rank are against the runs drawn where trials are fixed, against \
the whole set where the budget is. P(best pruned): share of studies whose best run was stopped. top 5% pruned: share \
that was stopped of the best 5% tried. tried: runs that the budget was enough for. Means over studies, which draw from \
the same runs in different order, with 95% intervals (± Student's t; Wilson's for P(best pruned))."""


def table(outcome: Outcome, width: int) -> Table:
    """Return one set and setting as a table for a terminal of this width."""
    shown = _empty_table(outcome.title)
    columns = [c for c in _COLUMNS if c[0] != "tried" or not outcome.setting.fixed_trials]
    for heading, _, _ in columns:
        shown.add_column(heading, justify="right")
    for name, figures in outcome.figures.items():
        cells = [_cell(figures[figure], form, " " if width >= WIDE else "\n") for _, figure, form in columns]
        shown.add_row(_row(outcome, name), *cells)
    return shown


def _row(outcome: Outcome, name: str) -> str:
    """Return a pruner's name with how many brackets it has, if it has any."""
    count = outcome.brackets.get(name)
    return name if count is None else f"{name}, {counted(count, 'bracket')}"


def _empty_table(title: str) -> Table:
    shown = Table(
        title=title, title_justify="left", title_style="bold", pad_edge=False, padding=(0, 1, 0, 0), box=box.SIMPLE_HEAD
    )
    shown.add_column("pruner", min_width=12)
    return shown


def _cell(e: Estimate, form: str, between: str) -> str:
    text = _shown(e.mean, form)
    if e.low is None or e.high is None:
        return text
    if form == "chance":
        return f"{text}{between}{100 * e.low:.0f}–{100 * e.high:.0f}"
    return f"{text}{between}±{_shown(e.high - e.mean, form).rstrip('%')}"


def _shown(value: float, form: str) -> str:
    if form in ("percent", "chance"):
        return f"{100 * value:.1f}%" if form == "percent" else f"{100 * value:.0f}%"
    return f"{value:.1f}" if form == "count" else f"{value:.2g}"


def overall(found: Sequence[Outcome]) -> Table:
    """Return what all sets say together in one setting: means over them, and the worst of them."""
    kind = "fixed trials" if found[0].setting.fixed_trials else "fixed budget"
    shown = _empty_table(f"{len(found)} sets, {kind}: mean over the sets, and the worst set's")
    for heading in ("cost", "÷ span", "worst", "rank", "worst", "P(best\npruned)", "worst"):
        shown.add_column(heading, justify="right")
    for name in found[0].figures:
        cells = []
        for figure in ("cost", "relative_regret", "rank", "best_pruned"):
            means = [o.figures[name][figure].mean for o in found]
            worst = [] if figure == "cost" else [_shown(max(means), "percent")]
            cells += [_shown(float(np.mean(means)), "percent"), *worst]
        shown.add_row(name, *cells)
    return shown


def terminal(found: Sequence[Outcome], console: Console) -> Group:
    """Return everything for a terminal: a set's notes and tables, and what the sets say together."""
    parts: list[Any] = []
    seen: set[int] = set()
    for outcome in found:
        if id(outcome.curves) not in seen:
            parts += [Text(f"{outcome.curves.name}: {note}.") for note in outcome.curves.notes]
        seen.add(id(outcome.curves))
        parts += [Text(), table(outcome, console.width)]
    if len(seen) > 1:
        for fixed in (True, False):
            parts += [Text(), overall([o for o in found if o.setting.fixed_trials == fixed])]
    return Group(*parts, Text(), Text(_LEGEND, style="dim"))


def as_json(found: Sequence[Outcome], seed: int) -> str:
    """Return the outcomes for machines; every figure is a fraction, or in units of the loss."""
    rows = [
        {
            "set": o.curves.name,
            "runs": o.curves.runs,
            "reports": len(o.curves.steps) + 1,
            "notes": list(o.curves.notes),
            "trials": o.setting.trials,
            "budget": None if o.setting.fixed_trials else o.setting.budget,
            "studies": o.studies,
            "seed": seed,
            "brackets": dict(o.brackets),
            "pruners": {n: {k: asdict(e) for k, e in figures.items()} for n, figures in o.figures.items()},
        }
        for o in found
    ]
    return json.dumps(rows, indent=2, allow_nan=False)


def write_figure(found: Sequence[Outcome], path: Path) -> None:
    """Write one HTML file, without need of a network: cost against regret and against P(best pruned)."""
    title = "Pruners on finished runs: what they cost, what they lose"
    out_file.write(path, page(figure(found), title, caption=_LEGEND), "--html")


def figure(found: Sequence[Outcome]) -> Any:
    """Return plotly's figure: a row for each set and setting, a colour for each pruner."""
    from plotly.subplots import make_subplots

    titles = [t for o in found for t in (o.title, "")]
    gap = GAP_PIXELS / (ROW_PIXELS * len(found))
    drawn = make_subplots(rows=len(found), cols=2, subplot_titles=titles, vertical_spacing=gap)
    for row, o in enumerate(found, start=1):
        for index, (name, figures) in enumerate(o.figures.items()):
            for col, y in ((1, "relative_regret"), (2, "best_pruned")):
                style = {"color": COLOURS[index % len(COLOURS)], "symbol": SYMBOLS[index % len(SYMBOLS)]}
                drawn.add_trace(_mark(name, figures, y, style, row == col == 1), row=row, col=col)
        drawn.update_xaxes(title_text="cost per trial, full runs", rangemode="tozero", row=row)
        drawn.update_yaxes(title_text="regret ÷ (median − best)", rangemode="tozero", row=row, col=1)
        drawn.update_yaxes(title_text="P(best pruned)", range=[-0.05, 1.05], row=row, col=2)
    drawn.update_annotations(xanchor="left", x=0, font_size=14, selector=lambda a: True)
    beside = {"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top"}
    legend = {"title": "pruner, 95% intervals", **beside}
    drawn.update_layout(template=template(), height=180 + ROW_PIXELS * len(found), legend=legend)
    return drawn


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
