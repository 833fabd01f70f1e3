"""The display of `start`: the running study."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from rich.console import Console

from search.show.status.live import Pacing, Pane, live_display, read_for_display
from search.show.wording import trial_line
from search.study.study import LinkedStudy
from search.worker.pool import LocalWorker

REPEATED_LINES = 10
"""Number of last lines that are printed again after the terminal was resized."""


class LiveDisplay:
    """A running study: a line for each finished trial, and below them, in a terminal, the study's overview.

    After a change of its width the terminal wraps the printed lines anew, so that everything is drawn again.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._printed: set[tuple[bool, int]] = set()
        self._pane, self._pace = Pane(clock=clock), Pacing(clock=clock)
        self._live = live_display(self._pane, console, whole=False)
        self._width, self._last_lines = console.width, deque[str](maxlen=REPEATED_LINES)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """Print a line above the overview."""
        self._last_lines.append(line)
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def skip_finished(self, study: LinkedStudy) -> None:
        """Take note of the trials that have finished already, so that a resumed study doesn't print them again."""
        for proxy, trials in ((True, study.proxy_trials()), (False, study.confirm_trials())):
            self._printed |= {(proxy, t.number) for t in trials if t.state.is_finished()}

    def update(self, study: LinkedStudy, workers: Iterable[LocalWorker]) -> None:
        """Print the trials that have finished since the last call, and read the whole study when it is time."""
        for proxy, trials in ((True, study.proxy_trials()), (False, study.confirm_trials())):
            for trial in trials:
                if trial.state.is_finished() and (proxy, trial.number) not in self._printed:
                    self._printed.add((proxy, trial.number))
                    self.say(trial_line(trial, proxy))
        if self._console.is_terminal:
            self._redraw_after_resizing()
            if self._pace.due():
                snapshot = self._pace.timed(lambda: read_for_display(study))
                alive = any(w.process.poll() is None for w in workers)
                self._pane.show(snapshot, self._pace.pause, starting=alive)

    def _redraw_after_resizing(self) -> None:
        if self._console.width != self._width:
            self._width = self._console.width
            self._live.stop()
            self._console.clear()
            for line in list(self._last_lines):
                self.say(line)
            self._live.start(refresh=True)
