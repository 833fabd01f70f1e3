"""`status --watch`: a study followed until its end or Ctrl-C, on one screen, or in plain lines if not in a terminal."""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

from rich.console import Console

from search.analysis.snapshot import Snapshot
from search.common.signals import StopRequest
from search.show.status.live import LEAST_PAUSE_SECONDS, Pacing, Pane, last_ended_lines, live_display, read_for_display
from search.show.status.overview import Overview
from search.show.status.panels import ended_of_all
from search.show.status.study_overview import study_overview
from search.show.status.summary import Summary
from search.show.wording import counted, rough_duration
from search.study.study import load_study
from storage.errors import UnreachableError
from storage.server.database import Database, is_transient

TICK_SECONDS = 0.25


def watch(database: Database, study: str, console: Console, stop: StopRequest, *, every: float, as_json: bool) -> None:
    """Follow a study, reading it every `every` seconds or less often."""
    pane = Pane(room=0)
    watcher = Watcher(lambda: read_for_display(load_study(database, study)), pane, console, as_json=as_json)
    watcher.pace = Pacing(max(every, LEAST_PAUSE_SECONDS / 4))
    on_screen = console.is_terminal and not as_json
    with live_display(pane, console, whole=True) if on_screen else nullcontext():
        watcher.run(stop, plain=not on_screen)
    if on_screen and watcher.snapshot is not None:
        console.print(Summary(watcher.snapshot), highlight=False)


@dataclass
class Watcher:
    """Reads a study again and again; without a screen it prints a line whenever something has changed."""

    look: Callable[[], Snapshot]
    pane: Pane
    console: Console
    as_json: bool = False
    pace: Pacing = field(default_factory=Pacing)
    snapshot: Snapshot | None = None
    _last_line: str = ""
    _database_away: bool = False

    def run(self, stop: StopRequest, *, plain: bool) -> None:
        """Follow until the study is finished or `stop` is set."""
        while not stop():
            if not self.pace.due():
                stop.wait(TICK_SECONDS)
                continue
            if self.step(plain=plain):
                return

    def step(self, *, plain: bool) -> bool:
        """Read once; return whether the study is finished. If the database is away, say so, and return False."""
        try:
            self.snapshot = self.pace.timed(self.look)
        except Exception as error:
            if not (is_transient(error) or isinstance(error, UnreachableError)):
                raise
            if plain and not self._database_away:
                self._say("the database doesn't answer; trying again")
            self._database_away = True
            return False
        if plain and self._database_away:
            self._say("the database answers again")
        self._database_away = False
        self.pane.show(self.snapshot, self.pace.pause, last_ended_lines(self.snapshot))
        overview = self.pane.overview or study_overview(self.snapshot)
        if plain:
            self._print_state(overview)
        return overview.state == "finished"

    def _print_state(self, overview: Overview) -> None:
        """Print the study's state, if anything but its clocks has changed."""
        if self.as_json:
            print(json.dumps(overview.table(), allow_nan=False), flush=True)
            return
        state = line(overview)
        if state != self._last_line:
            self._last_line = state
            time_left = f"; about {rough_duration(overview.eta_seconds)} to the end" if overview.eta_seconds else ""
            self._say(state + time_left)

    def _say(self, text: str) -> None:
        at = time.strftime("%H:%M:%S")
        self.console.print(f"{at} {text}", highlight=False, markup=False, soft_wrap=True)


def line(overview: Overview) -> str:
    """Return a study's state on one line, without what changes every second."""
    parts = [f"proxies {ended_of_all(overview.proxies)}"]
    if overview.confirmations.asked:
        parts.append(f"confirmations {ended_of_all(overview.confirmations)}")
    parts.append(counted(sum(w.state == "alive" for w in overview.workers), "worker"))
    best = overview.best_confirmed or overview.best_proxy
    if best is not None:
        parts.append(f"best {'confirmed' if overview.best_confirmed else 'proxy'} {best.bpb:.4f} BPB, {best.label}")
    return f"{overview.study} {overview.state}: " + ", ".join(parts)
