"""Stopping on request: the first Ctrl-C or SIGTERM asks to stop, the second interrupts."""

import signal
import socket
import threading
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Becomes true at the first SIGINT or SIGTERM; the second raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._installed = self._handled = False

    def install(self) -> None:
        """Handle the two signals; call it in the main thread.

        Python runs handlers in the main thread, between two of its instructions, and that thread may be in a compiler
        for minutes. So a thread of its own reads the signals as they arrive.
        """
        for number in STOP_SIGNALS:
            signal.signal(number, self._handle)
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        self._installed = True

    def ask(self) -> None:
        """Ask to stop, from within this process."""
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
        while numbers := self._reader.recv(64):
            if any(number in STOP_SIGNALS for number in numbers):
                self._asked.set()

    def __call__(self) -> bool:
        """Return whether a stop was asked for."""
        return self._asked.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep for so many seconds or until a stop is asked for, and return whether it was."""
        return self._asked.wait(seconds)
