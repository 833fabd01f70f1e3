"""Leaving in time: a spot machine's notice is short, and a worker may be compiling or reading text when it comes."""

import threading
from collections.abc import Callable

from search.common.signals import StopRequest
from storage.server.periodic import Background

POLL_SECONDS = 0.5


class Farewell(Background):
    """Once stopping is asked for, gives the main thread a moment, then hands its trial back over its head.

    Args:
        stop: what is asked.
        hand_back: gives the current trial back; may be called where there is none, or it has ended.
        leave: ends the process where the main thread doesn't come back at all; None: nothing does.
        moment_seconds: for the main thread to end by itself, which it does between two training steps.
        last_seconds: after that, for it to be interrupted and for what it wrote to be delivered.

    """

    def __init__(
        self,
        stop: StopRequest,
        hand_back: Callable[[], None],
        leave: Callable[[], None] | None = None,
        *,
        moment_seconds: float = 3.0,
        last_seconds: float = 12.0,
    ) -> None:
        self._stop, self._hand_back, self._leave = stop, hand_back, leave
        self._moment_seconds, self._last_seconds = moment_seconds, last_seconds
        self._over = threading.Event()
        super().__init__("farewell")

    def close(self) -> None:
        """The block has ended by itself: nothing is left to hand back."""
        self._over.set()

    def _run(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            if self._over.is_set():
                return
        if self._over.wait(self._moment_seconds):
            return
        self._hand_back()
        self._stop.insist()
        if not self._over.wait(self._last_seconds) and self._leave is not None:
            self._leave()
