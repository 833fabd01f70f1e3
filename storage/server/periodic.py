"""BackgroundThread threads that run as long as a block; one kind calls the database periodically, through outages."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

import optuna

from storage.server.database import is_transient


class BackgroundThread(ABC):
    """A thread that starts with a block and is asked to end with it; it doesn't keep the process alive."""

    def __init__(self, name: str) -> None:
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Ask the thread to end, and wait for it if and as long as that makes sense."""

    @abstractmethod
    def _run(self) -> None:
        """Do the thread's work until it is asked to end."""


class PeriodicThread(BackgroundThread):
    """A thread that makes a call after each interval.

    Args:
        name: name of the thread, also in warnings.
        interval_seconds: seconds between two calls.
        after_error: called after a call that raised.
        at_end: called once when the block ends.
        join_seconds: seconds that the end of the block waits for the thread, which may hang over a dead network.

    """

    def __init__(
        self,
        name: str,
        interval_seconds: float,
        *,
        after_error: Callable[[], object] = lambda: None,
        at_end: Callable[[], object] = lambda: None,
        join_seconds: float = 1.0,
    ) -> None:
        self._name, self._interval_seconds, self._join_seconds = name, interval_seconds, join_seconds
        self._after_error, self._at_end = after_error, at_end
        self._closing = threading.Event()
        super().__init__(name)

    def close(self) -> None:
        """End the thread; wait for `join_seconds` at most for a call that hangs."""
        self._closing.set()
        self._thread.join(self._join_seconds)

    @abstractmethod
    def _call(self) -> bool:
        """Make the call; return whether to go on."""

    def _run(self) -> None:
        go_on = True
        while go_on and not self._closing.wait(self._interval_seconds):
            go_on = self._attempt(self._call)
        if go_on:
            self._attempt(self._at_end)

    def _attempt(self, call: Callable[[], object]) -> bool:
        """Call, and return whether to go on; an error is no reason to end: after an outage calls succeed again."""
        try:
            return call() is not False
        except Exception as error:
            self._after_error()
            if not is_transient(error):
                optuna.logging.get_logger("lilm_search").warning(f"{self._name} failed: {type(error).__name__}")
            return True
