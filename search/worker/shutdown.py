"""Shutdown within a spot machine's short notice, even if the worker is compiling or reading text when it comes."""

import threading
from collections.abc import Callable

from search.common.signals import StopRequest
from storage.server.periodic import BackgroundThread

POLL_SECONDS = 0.5
"""Seconds between looks at whether the block has ended."""


class Shutdown(BackgroundThread):
    """Watches for a stop request; hands the trial back, interrupts the main thread and, at last, ends the process.

    Args:
        stop: the request.
        hand_back: hands the current trial back to its queue; may be called when there is none, or it has ended.
        leave: ends the process if the main thread doesn't return; None: it isn't ended.
        stop_seconds: seconds, from the request on, for the main thread to end by itself, between two training steps.
        delivery_seconds: seconds after that to interrupt it and to deliver the outbox.

    """

    def __init__(
        self,
        stop: StopRequest,
        hand_back: Callable[[], None],
        leave: Callable[[], None] | None = None,
        *,
        stop_seconds: float = 3.0,
        delivery_seconds: float = 12.0,
    ) -> None:
        self._stop, self._hand_back, self._leave = stop, hand_back, leave
        self._stop_seconds, self._delivery_seconds = stop_seconds, delivery_seconds
        self._block_ended = threading.Event()
        super().__init__("shutdown")

    def close(self) -> None:
        """Note that the block has ended by itself: nothing is left to hand back."""
        self._block_ended.set()

    def _run(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            if self._block_ended.is_set():
                return
        if self._block_ended.wait(self._stop_seconds):
            return
        self._hand_back()
        self._stop.insist()
        if not self._block_ended.wait(self._delivery_seconds) and self._leave is not None:
            self._leave()
