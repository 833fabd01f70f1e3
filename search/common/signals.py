"""Stopping on request: the first Ctrl-C or SIGTERM asks, the second insists."""

import signal
import socket
import threading
from types import FrameType

ASKING = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Becomes true at the first SIGINT or SIGTERM; the second raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._installed = self._handled = False

    def install(self) -> None:
        """Take the two signals over, in the main thread.

        Python runs handlers between two lines of that thread, which may be in a compiler for minutes: a thread of its
        own hears of a signal at once.
        """
        for number in ASKING:
            signal.signal(number, self._handle)
        self._ear, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)
        signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
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
        if self._handled:
            raise KeyboardInterrupt
        self._handled = True
        self._asked.set()

    def _listen(self) -> None:
        while numbers := self._ear.recv(64):
            if any(number in ASKING for number in numbers):
                self._asked.set()

    def __call__(self) -> bool:
        """Return whether stopping was asked for."""
        return self._asked.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep for so long, or until stopping is asked for."""
        return self._asked.wait(seconds)
