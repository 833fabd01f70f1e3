"""The screen of a running study, composed for a terminal's width and height."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.text import Text

from search.show.columns import hanging
from search.show.status import panels
from search.show.status.overview import Overview
from search.show.status.panels import Lines

WIDE = 140
"""Columns of a terminal from which workers and results are side by side."""


FIGURES = (panels.correlation, panels.transfer, panels.race, panels.cost)
"""Panels with a label at their left edge, which form one block."""


@dataclass(frozen=True, kw_only=True)
class Detail:
    """How much a screen shows."""

    workers: int | None = None
    """Most rows of workers; None: all."""
    warnings: int | None = None
    """Most warnings; None: all."""
    ended: int = 6
    """Lines of the trials that ended last."""
    spaced: bool = True
    """Whether empty lines separate the parts."""
    brief: bool = False
    """Whether parameters and description are left out."""


DETAILS = (
    Detail(),
    Detail(workers=16, warnings=3, ended=3),
    Detail(workers=8, warnings=2, ended=2),
    Detail(workers=4, warnings=1, ended=0),
    Detail(workers=4, warnings=1, ended=0, spaced=False),
    Detail(workers=3, warnings=1, ended=0, spaced=False, brief=True),
    Detail(workers=0, warnings=1, ended=0, spaced=False, brief=True),
)


def screen(overview: Overview, width: int, height: int, ended: Sequence[str] = ()) -> Lines:
    """Return the lines of one screen, in as much detail as fits; `ended` are lines of the trials that ended last."""
    lines: Lines = []
    for detail in DETAILS:
        lines = _compose(overview, width, detail, ended)
        if len(lines) <= height:
            break
    return lines[:height]


def advanced(overview: Overview, seconds: float) -> Overview:
    """Return the overview with its clocks `seconds` later, for drawing between two reads of the database."""
    if overview.state != "running":
        return overview
    eta = None if overview.eta_seconds is None else max(0.0, overview.eta_seconds - seconds)
    return replace(overview, elapsed_seconds=overview.elapsed_seconds + seconds, eta_seconds=eta)


def _compose(overview: Overview, width: int, detail: Detail, ended: Sequence[str]) -> Lines:
    top = panels.headline(overview, width)
    if overview.description and not detail.brief:
        top += hanging(overview.description, width, "", "dim")
    figures = [line for part in FIGURES for line in part(overview, width)]
    ended_lines = (
        [Text(line[:width], style="dim") for line in ended[len(ended) - detail.ended :]] if detail.ended else []
    )
    parts = [top, panels.progress(overview, width), *_middle(overview, width, detail), figures]
    parts += [panels.warnings(overview, width, detail.warnings), ended_lines]
    lines: Lines = []
    for part in parts:
        lines += [Text(), *part] if lines and part and detail.spaced else part
    return lines


def _middle(overview: Overview, width: int, detail: Detail) -> list[Lines]:
    """Return workers and results: side by side if they fit, else one below the other."""
    worker_lines = panels.workers(overview, width, detail.workers)
    if worker_lines and width >= WIDE:
        results_width = width - max(cell_len(line.plain) for line in worker_lines) - 4
        results = panels.best(overview, results_width, brief=detail.brief) if results_width >= 50 else []
        if results:
            return [panels.side_by_side(worker_lines, results)]
    return [worker_lines, panels.best(overview, width, brief=detail.brief)]
