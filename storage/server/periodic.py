"""Threads of their own that run beside a block; one kind calls the database again and again, through outages."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

import optuna

from storage.server.database import is_passing


class Background(ABC):
    """A thread that starts with a block and is asked to end with it; a hung one doesn't keep the process."""

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
        """Ask the thread to end, and wait for it as long as that makes sense."""

    @abstractmethod
    def _run(self) -> None:
        """Do what the thread is for, until it is asked to end."""


class Repeated(Background):
    """Calls again after each interval; `after_error` cleans up, `at_end` is called once when the block ends.

    `join_seconds` is how long that end waits for the thread, which may hang in a call over a dead network.
    """

    def __init__(
        self,
        what: str,
        interval_seconds: float,
        *,
        after_error: Callable[[], object] = lambda: None,
        at_end: Callable[[], object] = lambda: None,
        join_seconds: float = 1.0,
    ) -> None:
        self._what, self._interval_seconds, self._join_seconds = what, interval_seconds, join_seconds
        self._after_error, self._at_end = after_error, at_end
        self._done = threading.Event()
        super().__init__(what)

    def close(self) -> None:
        """End it; a call that hangs is waited for no longer than `join_seconds`."""
        self._done.set()
        self._thread.join(self._join_seconds)

    @abstractmethod
    def _call(self) -> bool:
        """Do it once; returns whether to go on."""

    def _run(self) -> None:
        go_on = True
        while go_on and not self._done.wait(self._interval_seconds):
            go_on = self._tried(self._call)
        if go_on:
            self._tried(self._at_end)

    def _tried(self, call: Callable[[], object]) -> bool:
        """Call through an outage, which passes: the next call may come through. Returns whether to go on."""
        try:
            return call() is not False
        except Exception as error:
            self._after_error()
            if not is_passing(error):
                optuna.logging.get_logger("lilm_search").warning(f"{self._what} failed: {type(error).__name__}")
            return True
