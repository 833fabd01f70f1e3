"""Time under a budget: a clock that can be injected, and a stopwatch that runs and pauses."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Clock = Callable[[], float]
"""Returns seconds from an arbitrary start; never goes back."""

SYSTEM_CLOCK: Clock = time.perf_counter


class Stopwatch:
    """Adds up the seconds between `start` and `pause`."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._total = clock, 0.0
        self._since: float | None = None

    def start(self) -> None:
        """Run; does nothing when running."""
        self._since = self._clock() if self._since is None else self._since

    def pause(self) -> None:
        """Stop running; does nothing when paused."""
        self._total, self._since = self.seconds, None

    def add(self, seconds: float) -> None:
        """Count seconds that were measured elsewhere."""
        self._total += seconds

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._total + (0.0 if self._since is None else self._clock() - self._since)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause for the length of a block."""
        self.pause()
        yield
        self.start()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run for the length of a block."""
        self.start()
        try:
            yield
        finally:
            self.pause()


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect before a block and not in it: in the middle of a step it would be paid from the budget."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
