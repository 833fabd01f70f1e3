"""A screen that follows a study: its clocks go on every second, the database is read now and then."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from optuna.trial import FrozenTrial
from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.text import Text

from search.analysis.snapshot import Snapshot, read
from search.show.status.glance import glance
from search.show.status.overview import Overview
from search.show.status.screen import aged, screen
from search.show.wording import outcome, span
from search.study.study import LinkedStudy

T = TypeVar("T")
LEAST_SECONDS = 2.0
"""Between two looks at the database."""
SHARE = 0.05
"""Of the time that reading may take: a big study is looked at more seldom."""
SPELT = 8
"""Columns left free where signs such as ± have to be spelt out: a line that is folded spoils the screen."""
STALE_SECONDS = 10.0
"""After so long without an answer the screen says so, once that is more than two looks."""


@dataclass
class Pace:
    """When to look again: as often as asked for, but more seldom where a look takes long."""

    least_seconds: float = LEAST_SECONDS
    clock: Callable[[], float] = time.monotonic
    pause: float = field(default=0.0, init=False)
    _next: float = field(default=0.0, init=False)

    def due(self) -> bool:
        """Return whether it is time."""
        return self.clock() >= self._next

    def timed(self, look: Callable[[], T]) -> T:
        """Look, and decide by how long that took when to do so again; a look that fails counts too."""
        started = self.clock()
        try:
            return look()
        finally:
            ended = self.clock()
            self.pause = max(self.least_seconds, (ended - started) / SHARE)
            self._next = ended + self.pause


@dataclass
class Pane:
    """The last look at a study; rich asks it for its lines as often as it draws, for the size that there is then."""

    clock: Callable[[], float] = time.monotonic
    room: int = 1
    """Lines of the terminal that are left to others."""
    overview: Overview | None = None
    ended: Sequence[str] = ()
    read_at: float = 0.0
    pause: float = LEAST_SECONDS

    def take(self, facts: Snapshot, pause: float, ended: Sequence[str] = (), *, starting: bool = False) -> None:
        """Take in a new look; workers that are `starting` haven't entered the study yet."""
        self.pause, self.ended, self.read_at = pause, ended, self.clock()
        o = glance(facts)
        if starting and o.state in ("stopped", "waiting"):
            o = replace(o, state="starting", warnings=[w for w in o.warnings if w.kind not in ("idle", "waiting")])
        self.overview = o

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Yield the screen as it is now."""
        if self.overview is None:
            yield Text("reading the study …", style="dim")
            return
        age, size = self.clock() - self.read_at, console.size
        width = size.width - (SPELT if options.ascii_only else 0)
        lines = screen(aged(self.overview, age), width, size.height - self.room - 1, self.ended)
        if age > max(STALE_SECONDS, 2 * self.pause):
            lines.insert(1, Text(f"! as of {span(age)} ago: the database doesn't answer; trying again", style="yellow"))
        yield from lines


def looked_at(study: LinkedStudy) -> Snapshot:
    """Read a study and work out what a screen shows of it, so that the pace counts both."""
    facts = read(study)
    glance(facts)
    return facts


def last_ended(facts: Snapshot, most: int = 6) -> list[str]:
    """Return a line for each of the trials that ended last, the last one last."""
    kinds = ((True, facts.proxies), (False, facts.runs))
    ended = [(proxy, t) for proxy, trials in kinds for t in trials if t.state.is_finished()]
    ended.sort(key=lambda pair: _when(pair[1]))
    return [outcome(trial, proxy) for proxy, trial in ended[-most:]]


def _when(trial: FrozenTrial) -> float:
    return trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0


def drawn(pane: Pane, console: Console, *, whole: bool) -> Live:
    """Return what draws a pane once a second: over the whole terminal, or below what has been printed."""
    return Live(
        get_renderable=lambda: pane,
        console=console,
        refresh_per_second=1,
        screen=whole,
        transient=True,
        redirect_stderr=False,
    )
