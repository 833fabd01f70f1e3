"""The table of a grid study, for a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from search.analysis.grid import Point, point_bpb_text, sweep_points, value_text
from search.analysis.ideas import compared
from search.show.status.ideas_table import ideas_table
from search.study.plan import Plan
from search.study.study import LinkedStudy
from search.study.trials import TOKENS, TOKENS_PER_ACTIVE_PARAM, TOKENS_PER_PARAM, TOKENS_PER_SECOND

BAR = 24
WIDE = 110
"""Columns of a terminal from which bars and numbers of tokens are shown."""


def sweep_table(study: LinkedStudy, width: int | None = None) -> Table:
    """Return the table of a grid study's points for a terminal of `width` columns, by default this one's."""
    columns = width or Console().width
    if study.plan.ideas:
        return ideas_table(study.plan, compared(study.plan, study.proxy_trials()), columns)
    return table_of(study.plan, sweep_points(study), columns)


def table_of(plan: Plan, points: Sequence[Point], width: int) -> Table:
    """Return a table of the points with their BPB above the best, which is bold; a wide table has bars for that too."""
    wide, names = width >= WIDE, list(plan.space.parameters)
    frame: dict[str, Any] = {"pad_edge": False} if wide else {"box": None, "padding": (0, 1, 0, 0)}
    table = Table(title=f"{plan.name}: after {plan.proxy.budget} of training", title_justify="left", **frame)
    for name in (*names, "BPB (± 95%)"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("runs", *(["tokens, M"] if wide else []), "tokens/parameter" if wide else "tok/par", "tokens/s"):
        table.add_column(name, justify="right")
    table.add_column("BPB above the best" if wide else "above", justify="left" if wide else "right")
    if wide and any(p.others for p in points):
        table.add_column("not finished")
    best = min((p.bpb for p in points if p.runs), default=0.0)
    most = max((p.bpb - best for p in points if p.runs), default=0.0)
    for p in points:
        values = [value_text(p.params.get(n)) for n in names]
        above = _bar(p.bpb - best, most if wide else 0.0) if p.runs else ""
        others = [p.others] if wide else []
        table.add_row(*values, *_figures(p, wide), above, *others, style="bold" if p.bpb == best else "")
    return table


def _figures(p: Point, wide: bool) -> list[str]:
    """Return a row's middle cells; those of a narrow table also hold the runs that have not finished."""
    if not p.runs:
        return ["–", "0", "–", "–", "–"] if wide else [p.others or "–", "0", "–", "–"]
    tokens, per_param, rate = (
        p.means[key].value if key in p.means else 0.0 for key in (TOKENS, TOKENS_PER_PARAM, TOKENS_PER_SECOND)
    )
    active = p.means[TOKENS_PER_ACTIVE_PARAM].value if TOKENS_PER_ACTIVE_PARAM in p.means else per_param
    ratio = f"{per_param:.3g}" if active == per_param else f"{per_param:.3g} ({active:.3g} active)"
    tokens_cell = [f"{tokens / 1e6:.3g}"] if wide else []
    runs = f"{p.runs}, {p.others}" if p.others and not wide else str(p.runs)
    return [point_bpb_text(p), runs, *tokens_cell, ratio, f"{rate:,.0f}"]


def _bar(above: float, most: float) -> str:
    return f"{'▇' * round(BAR * above / most) if most else ''} {above:.4f}".lstrip()
