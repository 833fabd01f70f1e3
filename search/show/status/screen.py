"""One calm screen of a running study, composed for a terminal's width and height."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.text import Text

from search.show.columns import hanging
from search.show.status import panels
from search.show.status.overview import Overview
from search.show.status.panels import Lines

WIDE = 140
"""From so many columns on, workers and results stand side by side."""


FIGURES = (panels.foretold, panels.transfer, panels.race, panels.spent)
"""Parts with a word at their left edge, which belong together."""


@dataclass(frozen=True, kw_only=True)
class Detail:
    """How much a screen shows, from all to what must be."""

    workers: int | None = None
    """Rows; None for all."""
    warnings: int | None = None
    ended: int = 6
    """Lines of what ended last."""
    spaced: bool = True
    brief: bool = False
    """Without parameters and description."""


DETAILS = (
    Detail(),
    Detail(workers=16, warnings=3, ended=3),
    Detail(workers=8, warnings=2, ended=2),
    Detail(workers=4, warnings=1, ended=0),
    Detail(workers=4, warnings=1, ended=0, spaced=False),
    Detail(workers=3, warnings=1, ended=0, spaced=False, brief=True),
    Detail(workers=0, warnings=1, ended=0, spaced=False, brief=True),
)


def screen(o: Overview, width: int, height: int, ended: Sequence[str] = ()) -> Lines:
    """Return the lines of one screen, in as much detail as fits; `ended` is what finished, the last one last."""
    lines: Lines = []
    for detail in DETAILS:
        lines = _compose(o, width, detail, ended)
        if len(lines) <= height:
            break
    return lines[:height]


def aged(o: Overview, seconds: float) -> Overview:
    """Return the overview as if read so much later: its clocks go on between two looks at the database."""
    if o.state != "running":
        return o
    eta = None if o.eta_seconds is None else max(0.0, o.eta_seconds - seconds)
    return replace(o, elapsed_seconds=o.elapsed_seconds + seconds, eta_seconds=eta)


def _compose(o: Overview, width: int, detail: Detail, ended: Sequence[str]) -> Lines:
    top = panels.headline(o, width)
    if o.description and not detail.brief:
        top += hanging(o.description, width, "", "dim")
    gate = [line for part in FIGURES for line in part(o, width)]
    last = [Text(line[:width], style="dim") for line in ended[len(ended) - detail.ended :]] if detail.ended else []
    parts = [top, panels.progress(o, width), *_middle(o, width, detail), gate]
    parts += [panels.warnings(o, width, detail.warnings), last]
    lines: Lines = []
    for part in parts:
        lines += [Text(), *part] if lines and part and detail.spaced else part
    return lines


def _middle(o: Overview, width: int, detail: Detail) -> list[Lines]:
    """Return workers and results: side by side where they fit, else below one another."""
    crew = panels.crew(o, width, detail.workers)
    if crew and width >= WIDE:
        room = width - max(cell_len(line.plain) for line in crew) - 4
        right = panels.best(o, room, brief=detail.brief) if room >= 50 else []
        if right:
            return [panels.beside(crew, right)]
    return [crew, panels.best(o, width, brief=detail.brief)]
