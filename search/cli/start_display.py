"""What `start` shows in a terminal: the preparation of data, then the study as it runs."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from rich.console import Console

from search.show.status.live import Pace, Pane, drawn, looked_at
from search.show.wording import outcome
from search.study.study import LinkedStudy
from search.worker.pool import LocalWorker

LAST = 10
"""Lines that are printed again where the terminal was resized."""


class LiveDisplay:
    """A running study: a line for each finished trial, and below them, where it is a terminal, the study at a glance.

    Once the terminal's width has changed, what was drawn is folded anew by the terminal: then all is drawn afresh.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._seen: set[tuple[bool, int]] = set()
        self._pane, self._pace = Pane(clock=clock), Pace(clock=clock)
        self._live = drawn(self._pane, console, whole=False)
        self._width, self._said = console.width, deque[str](maxlen=LAST)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """Print one line that stays."""
        self._said.append(line)
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def know(self, study: LinkedStudy) -> None:
        """Take what has already finished as seen, so that a resumed study doesn't list it again."""
        for proxy, trials in ((True, study.proxy_trials()), (False, study.confirm_trials())):
            self._seen |= {(proxy, t.number) for t in trials if t.state.is_finished()}

    def update(self, study: LinkedStudy, workers: Iterable[LocalWorker]) -> None:
        """Print what has finished since the last call, and look at the whole study now and then."""
        for proxy, trials in ((True, study.proxy_trials()), (False, study.confirm_trials())):
            for trial in trials:
                if trial.state.is_finished() and (proxy, trial.number) not in self._seen:
                    self._seen.add((proxy, trial.number))
                    self.say(outcome(trial, proxy))
        if self._console.is_terminal:
            self._redraw_after_resizing()
            if self._pace.due():
                facts = self._pace.timed(lambda: looked_at(study))
                alive = any(w.process.poll() is None for w in workers)
                self._pane.take(facts, self._pace.pause, starting=alive)

    def _redraw_after_resizing(self) -> None:
        if self._console.width != self._width:
            self._width = self._console.width
            self._live.stop()
            self._console.clear()
            for line in list(self._said):
                self.say(line)
            self._live.start(refresh=True)
