"""Threads of a worker that trains: one says that it lives, one takes trials from those who are silent."""

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import optuna

from storage.claims import TrialQueue
from storage.database import is_passing

JOIN_SECONDS = 1.0
"""How long the end of a block waits for its thread, which may hang in a call over a dead network."""


class _Repeated:
    """Calls from a thread of its own while the block runs, again after each interval, through outages."""

    def __init__(self, what: str, interval_seconds: float) -> None:
        self._what, self._interval_seconds = what, interval_seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=what, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(JOIN_SECONDS)

    def _call(self) -> bool:
        """Do it once; returns whether to go on."""
        raise NotImplementedError

    def _after_error(self) -> None:
        """Clean up after a call that failed."""

    def _run(self) -> None:
        while not self._done.wait(self._interval_seconds):
            try:
                if not self._call():
                    return
            except Exception as error:
                self._after_error()
                if not is_passing(error):  # an outage passes; the next call may come through
                    optuna.logging.get_logger("lilm_search").warning(f"{self._what} failed: {type(error).__name__}")


class Heartbeat(_Repeated):
    """Beats for a trial while the block runs; `lost` says that it was taken away."""

    def __init__(self, queue: TrialQueue, trial_id: int, *, interval_seconds: float) -> None:
        super().__init__(f"heartbeat of trial {trial_id}", interval_seconds)
        self.lost = False
        self._queue, self._trial_id = queue, trial_id

    def _call(self) -> bool:
        self.lost = not self._queue.beat(self._trial_id)
        return not self.lost


class Reaper(_Repeated):
    """Takes trials from silent workers while the block runs: a worker in a long run asks for no trial meanwhile."""

    def __init__(self, queues: Sequence[TrialQueue], forget: Callable[[], None], *, interval_seconds: float) -> None:
        super().__init__("reaper", interval_seconds)
        self._queues, self._forget = queues, forget

    def _call(self) -> bool:
        for queue in self._queues:
            queue.reap()
        return True

    def _after_error(self) -> None:
        self._forget()
