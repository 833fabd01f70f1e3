"""`status --watch`: a study followed until its end or Ctrl-C, on one screen, or in plain lines where there is none."""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

from rich.console import Console

from search.analysis.snapshot import Snapshot
from search.common.signals import StopRequest
from search.show.status.glance import glance
from search.show.status.live import LEAST_SECONDS, Pace, Pane, drawn, last_ended, looked_at
from search.show.status.overview import Overview
from search.show.status.panels import share
from search.show.status.summary import Summary
from search.show.wording import counted, span
from search.study.study import load_study
from storage.errors import UnreachableError
from storage.server.database import Database, is_transient

TICK_SECONDS = 0.25


def watch(database: Database, study: str, console: Console, stop: StopRequest, *, every: float, as_json: bool) -> None:
    """Follow a study, looking at most every so many seconds."""
    pane = Pane(room=0)
    watcher = Watcher(lambda: looked_at(load_study(database, study)), pane, console, as_json=as_json)
    watcher.pace = Pace(max(every, LEAST_SECONDS / 4))
    on_screen = console.is_terminal and not as_json
    with drawn(pane, console, whole=True) if on_screen else nullcontext():
        watcher.run(stop, plain=not on_screen)
    if on_screen and watcher.facts is not None:
        console.print(Summary(watcher.facts), highlight=False)


@dataclass
class Watcher:
    """Looks again and again; says a line where something changed and there is no screen."""

    look: Callable[[], Snapshot]
    pane: Pane
    console: Console
    as_json: bool = False
    pace: Pace = field(default_factory=Pace)
    facts: Snapshot | None = None
    _said: str = ""
    _away: bool = False

    def run(self, stop: StopRequest, *, plain: bool) -> None:
        """Follow until the study is finished or stopping is asked for."""
        while not stop():
            if not self.pace.due():
                stop.wait(TICK_SECONDS)
                continue
            if self.step(plain=plain):
                return

    def step(self, *, plain: bool) -> bool:
        """Look once; returns whether the study is finished. An outage is said, and waited for."""
        try:
            self.facts = self.pace.timed(self.look)
        except Exception as error:
            if not (is_transient(error) or isinstance(error, UnreachableError)):
                raise
            if plain and not self._away:
                self._say("the database doesn't answer; trying again")
            self._away = True
            return False
        if plain and self._away:
            self._say("the database answers again")
        self._away = False
        self.pane.take(self.facts, self.pace.pause, last_ended(self.facts))
        overview = self.pane.overview or glance(self.facts)
        if plain:
            self._tell(overview)
        return overview.state == "finished"

    def _tell(self, overview: Overview) -> None:
        """Print where the study stands, if anything but its clocks has changed."""
        if self.as_json:
            print(json.dumps(overview.table(), allow_nan=False), flush=True)
            return
        said = line(overview)
        if said != self._said:
            self._said = said
            left = f"; about {span(overview.eta_seconds)} to the end" if overview.eta_seconds else ""
            self._say(said + left)

    def _say(self, text: str) -> None:
        at = time.strftime("%H:%M:%S")
        self.console.print(f"{at} {text}", highlight=False, markup=False, soft_wrap=True)


def line(o: Overview) -> str:
    """Return where a study stands on one line, without what changes with every second."""
    parts = [f"proxies {share(o.proxies)}"]
    if o.confirmations.asked:
        parts.append(f"confirmations {share(o.confirmations)}")
    parts.append(counted(sum(w.state == "alive" for w in o.workers), "worker"))
    best = o.best_confirmed or o.best_proxy
    if best is not None:
        parts.append(f"best {'confirmed' if o.best_confirmed else 'proxy'} {best.bpb:.4f} BPB, {best.label}")
    return f"{o.study} {o.state}: " + ", ".join(parts)
