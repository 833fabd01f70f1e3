"""Commands of ours in processes that are forked rather than started anew; see `tests.forking.server`."""

import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, AnyStr

from filelock import FileLock

from tests.places import ROOT

OURS = [sys.executable, "-m", "search"]
"""How a command of ours begins."""
IN_NETWORK = ["ip", "netns", "exec"]
"""What may be before it, with the name of the network's namespace."""
AT_START = ("LC_ALL", "LANG", "PYTHONUTF8", "PYTHONCOERCECLOCALE", "PYTHONIOENCODING", "PYTHONPATH")
"""Variables that Python reads when it starts: a process in which they are others is started, not forked."""


class Forked(subprocess.Popen[AnyStr]):
    """A process of the command line, for whoever starts it like any other; other programs are started as ever."""

    server: Path | None = None
    """Socket of the server that forks them; None for that of this run of the tests, which is started if need be."""
    _connection: socket.socket | None = None
    """Tells how the process has ended; None if it is another program's."""

    def _execute_child(self, args: Any, executable: Any, preexec_fn: Any, *rest: Any) -> None:
        within = args[:3] == IN_NETWORK
        command = args[4:] if within else args
        folder, environment = rest[2:4]
        environment = dict(os.environ if environment is None else environment)
        if command[:3] != OURS or any(environment.get(name) != os.environ.get(name) for name in AT_START):
            super()._execute_child(args, executable, preexec_fn, *rest)  # type: ignore[misc]
            return
        if preexec_fn is not None:
            raise ValueError("a forked process runs nothing before the command")
        pipes = rest[7:13]
        input_, _, _, output, _, errors = pipes
        what = {
            "arguments": command[3:],
            "network": args[3] if within else None,
            "folder": os.fspath(folder or Path.cwd()),
            "environment": environment,
            "processors": list(os.sched_getaffinity(0)),
            "session": rest[-2],
        }
        descriptors = [place if given == -1 else given for place, given in enumerate((input_, output, errors))]
        self._connection, self.pid = fork(what, descriptors, self.server)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _internal_poll(self, *args: Any, **options: Any) -> Any:
        if self._connection is None:
            return super()._internal_poll(*args, **options)  # type: ignore[misc]
        if self.returncode is None and (status := self._status(socket.MSG_DONTWAIT)) is not None:
            self._handle_exitstatus(status)  # type: ignore[attr-defined]
        return self.returncode

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._connection is None:
            return super()._try_wait(wait_flags)  # type: ignore[misc,no-any-return]
        status = self._status(socket.MSG_DONTWAIT if wait_flags & os.WNOHANG else 0)
        return (0, 0) if status is None else (self.pid, status)

    def _status(self, flags: int) -> int | None:
        """Return how the process ended, as `os.waitpid` says it; None if it hasn't."""
        assert self._connection is not None
        try:
            message = self._connection.recv(100, flags)
        except BlockingIOError:
            return None
        self._connection.close()
        return int(message)


def fork(what: dict[str, Any], descriptors: list[int], path: Path | None = None) -> tuple[socket.socket, int]:
    """Have a process forked, and return the connection that tells how it has ended, and the process's number."""
    connection = _connected(path or server())
    socket.send_fds(connection, [json.dumps(what).encode()], descriptors)
    return connection, int(connection.recv(100))


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


@functools.cache
def server() -> Path:
    """Return the server's socket; processes of one run of the tests share it, and each holds it until it ends."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    path = Path(tempfile.gettempdir()) / f"lilm-forks-{run}"
    with FileLock(f"{path}.lock"):
        try:
            _held.append(_connected(path).detach())
        except OSError:
            command = [sys.executable, "-m", "tests.forking.server", str(path)]
            started = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert started.returncode == 0, started.stderr
            _held.append(_connected(path).detach())
    return path


_held: list[int] = []
"""Descriptor of the connection by which this process holds the server until it ends."""
