"""A screen that follows a study: drawn every second, so that its clocks go on; the database is read less often."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from optuna.trial import FrozenTrial
from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.text import Text

from search.analysis.snapshot import Snapshot, read
from search.show.status.overview import Overview
from search.show.status.screen import advanced, screen
from search.show.status.study_overview import study_overview
from search.show.wording import rough_duration, trial_line
from search.study.study import LinkedStudy

T = TypeVar("T")
LEAST_PAUSE_SECONDS = 2.0
"""Least seconds between two reads of the database."""
READ_SHARE = 0.05
"""Share of the time that reading may take: a big study is read less often."""
SPELT_OUT_COLUMNS = 8
"""Columns left free on ASCII terminals, where signs such as ± get longer: a wrapped line would spoil the screen."""
STALE_SECONDS = 10.0
"""Seconds without an answer of the database, after which the screen says so; at least two pauses between reads."""


@dataclass
class Pacing:
    """When to read again: as often as asked for, but less often if reading takes long."""

    least_seconds: float = LEAST_PAUSE_SECONDS
    clock: Callable[[], float] = time.monotonic
    pause: float = field(default=0.0, init=False)
    _next: float = field(default=0.0, init=False)

    def due(self) -> bool:
        """Return whether it is time to read."""
        return self.clock() >= self._next

    def timed(self, look: Callable[[], T]) -> T:
        """Call `look`, return its result, and set the next time by how long it took, even if it raised."""
        started = self.clock()
        try:
            return look()
        finally:
            ended = self.clock()
            self.pause = max(self.least_seconds, (ended - started) / READ_SHARE)
            self._next = ended + self.pause


@dataclass
class Pane:
    """The latest overview as a renderable: rich asks for its lines at every drawing, for the terminal's size then."""

    clock: Callable[[], float] = time.monotonic
    room: int = 1
    """Lines of the terminal that are left free."""
    overview: Overview | None = None
    ended: Sequence[str] = ()
    read_at: float = 0.0
    pause: float = LEAST_PAUSE_SECONDS

    def show(self, snapshot: Snapshot, pause: float, ended: Sequence[str] = (), *, starting: bool = False) -> None:
        """Show a new snapshot; `starting`: this machine's workers are starting, but aren't registered yet."""
        self.pause, self.ended, self.read_at = pause, ended, self.clock()
        overview = study_overview(snapshot)
        if starting and overview.state in ("stopped", "waiting"):
            warnings = [w for w in overview.warnings if w.kind not in ("idle", "waiting")]
            overview = replace(overview, state="starting", warnings=warnings)
        self.overview = overview

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Yield the lines of the screen at this moment."""
        if self.overview is None:
            yield Text("reading the study …", style="dim")
            return
        age, size = self.clock() - self.read_at, console.size
        width = size.width - (SPELT_OUT_COLUMNS if options.ascii_only else 0)
        lines = screen(advanced(self.overview, age), width, size.height - self.room - 1, self.ended)
        if age > max(STALE_SECONDS, 2 * self.pause):
            lines.insert(
                1, Text(f"! as of {rough_duration(age)} ago: the database doesn't answer; trying again", style="yellow")
            )
        yield from lines


def read_for_display(study: LinkedStudy) -> Snapshot:
    """Read a study and compute its overview once, so that the pacing counts the time of both."""
    snapshot = read(study)
    study_overview(snapshot)
    return snapshot


def last_ended_lines(snapshot: Snapshot, most: int = 6) -> list[str]:
    """Return a line for each of the trials that ended last, in the order of their ends."""
    kinds = ((True, snapshot.proxies), (False, snapshot.runs))
    ended = [(proxy, t) for proxy, trials in kinds for t in trials if t.state.is_finished()]
    ended.sort(key=lambda pair: _when(pair[1]))
    return [trial_line(trial, proxy) for proxy, trial in ended[-most:]]


def _when(trial: FrozenTrial) -> float:
    return trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0


def live_display(pane: Pane, console: Console, *, whole: bool) -> Live:
    """Return rich's live display of a pane, drawn every second on the whole terminal or below the printed lines."""
    return Live(
        get_renderable=lambda: pane,
        console=console,
        refresh_per_second=1,
        screen=whole,
        transient=True,
        redirect_stderr=False,
    )
