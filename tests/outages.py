"""Ways in which a study's database goes away, to be used on purpose."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from storage.server.database import Database, parse_url


class Outage(Protocol):
    """Something that can befall a server, and pass."""

    def begin(self) -> None: ...

    def end(self) -> None: ...


class Proxy:
    """A wire to a server on this machine that can be cut: connections are reset, new ones refused; or go dead."""

    def __init__(self, port: int) -> None:
        self.target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = threading.Event()
        self._open.set()
        self._flowing = threading.Event()
        self._flowing.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, url: str) -> str:
        """Return the server's URL by way of this wire."""
        return parse_url(url).set(drivername="postgresql", port=self.port).render_as_string(hide_password=False)

    def cut(self) -> None:
        self._open.clear()
        for pair in self._pairs:
            _close(*pair)
        self._pairs.clear()

    def mend(self) -> None:
        self._open.set()

    def clog(self) -> None:
        """Let nothing through, and say nothing of it."""
        self._flowing.clear()

    def unclog(self) -> None:
        self._flowing.set()

    def close(self) -> None:
        self._listener.close()
        self.cut()
        self.unclog()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                if not self._open.is_set():
                    raise ConnectionRefusedError
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            self._pairs.append((near, far))
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)
        except OSError:
            pass
        _close(source, sink)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


class CalledOutage:
    """An outage of two functions."""

    def __init__(self, begin: Callable[[], object], end: Callable[[], object]) -> None:
        self._begin, self._end = begin, end

    def begin(self) -> None:
        self._begin()

    def end(self) -> None:
        self._end()


class Paused:
    """Every process of the server stands still: calls neither fail nor return."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._stopped: list[int] = []

    def begin(self) -> None:
        postmaster = int((self._data / "postmaster.pid").read_text().split()[0])
        self._stopped = [postmaster, *_children(postmaster)]
        for pid in self._stopped:
            os.kill(pid, signal.SIGSTOP)

    def end(self) -> None:
        for pid in reversed(self._stopped):
            os.kill(pid, signal.SIGCONT)


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after_name[1]) == parent:
            found.append(int(path.parent.name))
    return found


class Statements:
    """An outage made and ended by SQL, over a connection of its own."""

    def __init__(self, url: str, begin: list[str], end: list[str]) -> None:
        self._engine = sa.create_engine(parse_url(url), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        self._begin, self._end = begin, end

    def begin(self) -> None:
        self._execute(self._begin)

    def end(self) -> None:
        self._execute(self._end)

    def _execute(self, statements: list[str]) -> None:
        with self._engine.connect() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))


def full_disk(url: str) -> Statements:
    """Writing a loss fails as it does on a full disk."""
    function = "CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE {} END $$"
    error = "EXCEPTION 'no space left on device' USING ERRCODE = '53100';"
    trigger = "CREATE TRIGGER full_disk BEFORE INSERT ON trial_intermediate_values EXECUTE FUNCTION full_disk()"
    drop = "DROP TRIGGER full_disk ON trial_intermediate_values"
    return Statements(url, [function.format(error), trigger], [drop])


def read_only(url: str) -> Statements:
    """The server takes no writes, as one does that has just become a standby."""
    name = parse_url(url).database
    others = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    setting = f'ALTER DATABASE "{name}" SET default_transaction_read_only = '
    undo = ["SET default_transaction_read_only = off", setting + "off", others]
    return Statements(url, [setting + "on", others], undo)


class Exhausted:
    """Others hold every connection that this process may have."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine
        self._held: list[sa.Connection] = []

    def begin(self) -> None:
        pool = self._engine.pool
        assert isinstance(pool, sa.QueuePool)
        while pool.checkedout() < pool.size() + pool._max_overflow:
            self._held.append(self._engine.connect())

    def end(self) -> None:
        for connection in self._held:
            connection.close()
