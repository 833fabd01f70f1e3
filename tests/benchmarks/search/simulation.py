"""Simulated time for processes that sleep and wait: each is a greenlet, and runs alone until it does either."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet

MOST_IDLE_ROUNDS = 1000
"""Times that all processes may be found waiting for one another."""


class Simulation:
    """A clock, and the processes that it wakes by their times; those of one time in the order of asking."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._due: list[tuple[float, int, Any]] = []
        self._waiting: list[tuple[float, int, Any]] = []

    def spawn(self, work: Callable[[], object]) -> None:
        """Begin a process now."""
        self._push(self.now, greenlet(lambda: work()))

    def sleep(self, seconds: float) -> None:
        """Let the process that calls go on so many seconds later."""
        self._push(self.now + max(0.0, seconds), getcurrent())
        self._hub.switch()

    def wait(self, seconds: float) -> None:
        """Let the process that calls go on once something has changed, at its next look, one each `seconds`.

        Looks at which nothing has changed are left out: they would cost time and find nothing.
        """
        self._waiting.append((seconds, next(self._order), getcurrent()))
        self._hub.switch()

    def changed(self) -> None:
        """Let those that wait look again."""
        for seconds, _, process in self._waiting:
            self._push(self.now + seconds, process)
        self._waiting.clear()

    def run(self) -> None:
        """Go on until every process has ended; raises what one raises, and `RuntimeError` where all only wait."""
        self._hub, idle = getcurrent(), 0
        while self._due or self._waiting:
            if not self._due:
                idle += 1
                if idle > MOST_IDLE_ROUNDS:
                    raise RuntimeError(f"{len(self._waiting)} processes wait at {self.now} s, and none works")
                self.changed()
            self.now, _, process = heapq.heappop(self._due)
            process.switch()

    def _push(self, when: float, process: Any) -> None:
        heapq.heappush(self._due, (when, next(self._order), process))
