"""A process that has imported all that commands need and forks one whenever asked: `python -m tests.forking.server`.

Importing torch takes longer than what a test's command does. A forked one is a process like any other, with the folder,
environment, processors, input and outputs that were asked for, and runs `search` as `python -m search` does.
"""

import atexit
import ctypes
import gc
import io
import json
import os
import runpy
import selectors
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

MOST_BYTES = 2**20
"""Largest request: the environment is most of it."""

Request = tuple[dict[str, Any], list[int]]
"""What a process shall be, and its input, output and output of errors."""


class Server:
    """Listens on a socket in the file system; ends with its last client."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listening.bind(str(path))
        self._listening.listen()
        self._selector = selectors.DefaultSelector()
        self._clients: set[socket.socket] = set()
        self._children: dict[int, int] = {}
        """A descriptor of each process that runs, with its number."""
        self._watch(self._listening, self._accept)

    def serve(self) -> Request:
        """Serve for good; returns in each process that is forked, and there alone."""
        while True:
            for key, _ in self._selector.select():
                request: Request | None = key.data()
                if request:
                    return request
            if not self._clients:
                self._path.unlink()
                Path(f"{self._path}.lock").unlink(missing_ok=True)
                sys.exit()

    def _watch(self, what: Any, answer: Callable[[], Request | None]) -> None:
        self._selector.register(what, selectors.EVENT_READ, answer)

    def _accept(self) -> None:
        client, _ = self._listening.accept()
        self._clients.add(client)
        self._watch(client, partial(self._answer, client))

    def _answer(self, client: socket.socket) -> Request | None:
        """Fork a process as the client asks for, and tell it the number; a client that has gone is forgotten."""
        try:
            message, descriptors, _, _ = socket.recv_fds(client, MOST_BYTES, 3)
        except ConnectionError:  # it was killed before it had read how its process ended
            message = b""
        if not message:
            self._selector.unregister(client)
            self._clients.remove(client)
            client.close()
            return None
        number = os.fork()
        if number == 0:
            self._close()
            what: dict[str, Any] = json.loads(message)
            return what, descriptors
        for descriptor in descriptors:
            os.close(descriptor)
        child = os.pidfd_open(number)
        self._children[child] = number
        self._watch(child, partial(self._ended, child, client))
        with suppress(ConnectionError):  # killed while it waited for the answer
            client.send(str(number).encode())
        return None

    def _ended(self, child: int, client: socket.socket) -> None:
        """Tell the client, if it is still there, how its process ended."""
        self._selector.unregister(child)
        os.close(child)
        _, status = os.waitpid(self._children.pop(child), 0)
        if client in self._clients:
            with suppress(ConnectionError):  # killed together with its process, which may be seen first
                client.send(str(status).encode())

    def _close(self) -> None:
        """Leave nothing of the server's open in a process that it has forked."""
        self._selector.close()
        for opened in (self._listening, *self._clients):
            opened.close()
        for child in self._children:
            os.close(child)


def become(what: dict[str, Any], descriptors: list[int]) -> None:
    """Give this process what was asked for."""
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(what["environment"])
    time.tzset()
    os.chdir(what["folder"])
    os.sched_setaffinity(0, what["processors"])
    if what["session"]:
        os.setsid()
    if what["network"]:
        enter_network(what["network"])
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    sys.stdout = io.TextIOWrapper(
        open(1, "wb", 0 if unbuffered else -1, closefd=False),  # noqa: SIM115
        encoding=sys.stdout.encoding,
        errors=sys.stdout.errors,
        write_through=unbuffered,
    )
    sys.argv = ["search", *what["arguments"]]


def enter_network(name: str) -> None:
    """Move this process into the namespace of a network that `ip netns add` has made."""
    with Path("/run/netns", name).open("rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0):
            raise OSError(ctypes.get_errno(), f"the network {name} can't be entered")


def ended() -> int:
    """Run `search`; returns its exit code."""
    try:
        runpy.run_module("search", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def leave(code: int) -> NoReturn:
    """End the process as the interpreter does, but without freeing all memory, which takes longer than a fork."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    gc.disable()  # until all is imported
    import tests.forking.preloaded  # noqa: F401
    from tests.forking.client import Forked

    Forked.server = Path(sys.argv[1])
    server = Server(Forked.server)
    nowhere = os.open(os.devnull, os.O_RDWR)
    if os.fork():  # whoever started it knows by its end that it listens
        os._exit(0)
    os.setsid()
    for place in range(3):
        os.dup2(nowhere, place)
    become(*server.serve())
    subprocess.Popen = Forked  # type: ignore[misc]  # for the workers that it starts
    leave(ended())
