"""Stopping on request: the first Ctrl-C or SIGTERM asks, the second insists."""

import signal
import threading
from types import FrameType


class StopRequest:
    """Becomes true at the first SIGINT or SIGTERM; the second raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._installed = False

    def install(self) -> None:
        """Take the two signals over, in the main thread."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)
        self._installed = True

    def ask(self) -> None:
        """Ask for it from within."""
        self._asked.set()

    def insist(self) -> None:
        """Interrupt the main thread, whatever it is doing, once it runs Python again."""
        main = threading.main_thread().ident
        if self._installed and main is not None:
            signal.pthread_kill(main, signal.SIGINT)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()

    def __call__(self) -> bool:
        """Return whether stopping was asked for."""
        return self._asked.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep for so long, or until stopping is asked for."""
        return self._asked.wait(seconds)
