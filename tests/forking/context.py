"""A context of multiprocessing whose processes are forked by `tests.forking.server`, which has imported all they need.

They start as those of the method "spawn" do, with nothing of their parent's but what they are given; each of those
imports Optuna, SQLAlchemy and the tests anew, which takes longer than what they do.
"""

import io
import os
import socket
from multiprocessing import context, popen_forkserver, reduction, resource_tracker, spawn, util
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.forking.client import fork


class _Popen(popen_forkserver.Popen):
    """Asks our server, rather than one of multiprocessing's own for each process of pytest's."""

    _fds: list[int]
    """What the process inherits, as multiprocessing's own class gathers it."""

    def _launch(self, process: BaseProcess) -> None:
        what = {
            "network": None,
            "folder": str(Path.cwd()),
            "environment": dict(os.environ),
            "processors": list(os.sched_getaffinity(0)),
            "session": False,
        }
        pickled = self._pickled(process)
        read, write = os.pipe()
        tracker = resource_tracker.getfd()
        assert tracker is not None
        self._connection, self.pid = fork(what, [0, 1, 2, read, tracker, *self._fds])
        os.close(read)
        self.sentinel = self._connection.fileno()
        parent = os.dup(write)  # by whose end the child knows ours
        self.finalizer = util.Finalize(self, _close, (self._connection, parent))
        with os.fdopen(write, "wb") as file:
            file.write(pickled)

    def _pickled(self, process: BaseProcess) -> bytes:
        buffer = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            reduction.dump(spawn.get_preparation_data(process.name), buffer)
            reduction.dump(process, buffer)
        finally:
            context.set_spawning_popen(None)
        return buffer.getvalue()

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        if self.returncode is None and wait([self.sentinel], 0 if flag == os.WNOHANG else None):
            self.returncode = os.waitstatus_to_exitcode(int(self._connection.recv(100)))
        return self.returncode


def _close(connection: socket.socket, pipe: int) -> None:
    connection.close()
    os.close(pipe)


class ForkedProcess(context.ForkServerProcess):
    """A process that is forked by the server."""

    @staticmethod
    def _Popen(process: BaseProcess) -> Any:  # noqa: N802
        return _Popen(process)


class ForkedContext(context.ForkServerContext):
    """As `multiprocessing.get_context("spawn")`, for the tests."""

    Process = ForkedProcess


forked = ForkedContext()
