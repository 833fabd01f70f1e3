"""What many tests share: real PostgreSQL servers, a database of its own for each test, prepared text."""

import functools
import gc
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import jaxtyping
import optuna
import psycopg2
import pytest
import sqlalchemy as sa
import typer.main

from model.config import DataConfig, TokenizerConfig
from storage import redaction
from storage.server.database import Database, connect, parse_url
from storage.server.embedded import USER, _Server, _unprivileged
from tests.forking.client import OURS, Forked
from tests.places import ROOT, SHARED

if TYPE_CHECKING:
    from model.data.corpus import Corpus
    from tests.tls import TlsServer

os.environ["OMP_NUM_THREADS"] = "1"
"""Tiny networks train on one thread: many threads on a busy machine wait for one another longer than they work."""
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
"""Workers that take two threads wait without turning a core, which on a busy machine costs several times the work."""

BUILTIN = DataConfig(source="builtin", holdout_period=16, holdout_rows=1)
NAMESPACE_ADDRESS = f"10.231.{os.getpid() % 250}.1"  # of its own for each run of the tests on a machine
SHARED_TEXT = SHARED / "data" / "text"
CLI_SECONDS, END_SECONDS = 240, 40
"""Seconds that a command, or what else comes anyway, may take, and a command's to end by itself; pytest allows more."""


KINDS = {
    "database": {"embedded_url", "system_url", "tls_server", "any_server_url"},
    "system": {"system_url", "tls_server", "any_server_url"},
    "training": {"corpus"},
    "process": {"fresh_home"},
    "browser": {"browser"},
}
"""Marks that a test gets for the fixtures it asks for, itself or through others: `pytest -m "not database"`."""


SLOW = (
    *("tests/deploy", "tests/chaos", "tests/benchmarks", "tests/docs/test_site.py", "tests/model/data/test_corpus.py"),
    "tests/model/network/test_compiled.py",
    *("tests/model/data/test_reserved_signs.py", "tests/search/cli/test_other_encodings.py"),
    *("tests/search/cli/test_commands.py", "tests/search/cli/test_workers.py", "tests/search/cli/test_sweeps.py"),
    *("tests/model/training", "tests/search/init/test_make.py", "tests/storage/server/test_embedded.py"),
    *(
        "tests/search/strategy/test_pruner_studies.py",
        "tests/model/data/test_sources.py",
        "tests/storage/access/test_roles.py",
    ),
)
"""Folders and files, chosen by hand, whose tests start programs or train for seconds."""


def remember_commands() -> None:
    """Have typer remember the commands that it has made of an application, which takes longer than most calls."""
    if not hasattr(typer.main.get_command, "cache_info"):
        typer.main.get_command = functools.cache(typer.main.get_command)


def pytest_collection() -> None:
    """Look for no garbage among ever more modules: that takes a sixth of the time in which tests are imported."""
    gc.disable()
    remember_commands()


def pytest_collection_finish() -> None:
    """Leave what was imported, a million objects, out of all later collections of garbage."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = tuple(str(ROOT / place) for place in SLOW)
    for item in items:
        if str(item.path).startswith(slow):
            item.add_marker("slow")
        asked = set(getattr(item, "fixturenames", ()))
        for kind, fixtures in KINDS.items():
            if asked & fixtures:
                item.add_marker(kind)


@pytest.fixture(scope="session", autouse=True)
def _steady() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _open_folder() -> Path:
    """A folder whose parents are open to all: PostgreSQL runs as another user when we are root."""
    folder = Path(tempfile.mkdtemp(prefix="lilm-test-", dir=_roomy_memory()))
    folder.chmod(0o755)
    return folder


def _roomy_memory() -> str:
    """The folder that lies in memory, if it has room for the servers of some processes; else that on the disk.

    Each test's database is a thousand files, which a disk takes as long to delete as a test to run.
    """
    with suppress(OSError):
        if shutil.disk_usage("/dev/shm").free > 8e9:
            return "/dev/shm"
    return "/tmp"


UNSYNCED = """
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
checkpoint_timeout = 1h
max_wal_size = 4GB
"""
"""Settings of a server whose data nobody needs after a power failure, and whose databases live for seconds."""


class UnsyncedServer(_Server):
    """A server that waits for no disk, and whose own user's password is hashed once rather than 4,096 times."""

    def _create(self) -> None:
        super()._create()
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(UNSYNCED)

    def _create_database(self, port: int) -> None:
        super()._create_database(port)
        with sa.create_engine(parse_url(self._url(port)), poolclass=sa.NullPool).begin() as connection:
            if (connection.dialect.server_version_info or ()) >= (16,):  # earlier ones know no other number
                connection.exec_driver_sql("SET scram_iterations = 1")
                connection.exec_driver_sql(f"ALTER USER {USER} PASSWORD '{self._password()}'")


@contextmanager
def _running(kind: type[_Server]) -> Iterator[str]:
    """A server in a folder of its own; yields its URL."""
    folder = _open_folder()
    server = kind(folder / "postgres", _unprivileged())
    server.make_reachable()
    yield server.ensure_running()
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def embedded_url() -> Iterator[str]:
    with _running(UnsyncedServer) as url:
        yield url


def _system_programs() -> list[Path]:
    return sorted(p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/initdb"))


class _SystemServer(UnsyncedServer):
    """The system's PostgreSQL in a folder of its own."""

    def _programs(self) -> Path:
        return _system_programs()[0]


@pytest.fixture(scope="session")
def system_url() -> Iterator[str]:
    if not _system_programs():
        pytest.skip("this machine has no PostgreSQL of its own")
    with _running(_SystemServer) as url:
        yield url


@pytest.fixture
def shapes_unchecked() -> Iterator[None]:
    """No check of shapes and types at each call, for tests that make thousands: the network's own tests check them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are kept for the whole process, and would be hidden in what other tests print."""
    monkeypatch.setattr(redaction, "_known", set())


@pytest.fixture(scope="session")
def tls_server() -> Iterator["TlsServer"]:
    """The system's PostgreSQL, which takes TLS and SCRAM alone, for db.lilm.test and the namespaces' address."""
    from tests.tls import NAME, TlsServer

    if not _system_programs() or not shutil.which("openssl"):
        pytest.skip("this machine has no PostgreSQL of its own, or no openssl")
    server = TlsServer(f"DNS:{NAME},IP:{NAMESPACE_ADDRESS}")
    yield server
    server.stop()
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(params=["embedded", "system"])
def any_server_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


def fresh_database(server_url: str) -> str:
    """Create an empty database on the server and return its URL."""
    return created(server_url, template="template1")


def database_with_tables(server_url: str) -> str:
    """Create a database that `connect` has opened once, a copy of the server's first such, and return its URL."""
    return created(server_url, template=_opened_once(server_url))


@functools.cache
def _opened_once(server_url: str) -> str:
    url = fresh_database(server_url)
    connect(url).close()
    return str(parse_url(url).database)


def created(server_url: str, template: str) -> str:
    """Create a database that is a copy of this one, which nobody may be connected to, and return its URL."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    statement = f'CREATE DATABASE "{name}" TEMPLATE "{template}"'
    try:
        _creator(server_url).execute(statement)
    except psycopg2.OperationalError:  # the server was restarted
        _creator.cache_clear()
        _creator(server_url).execute(statement)
    return _of_server(server_url, name)


@functools.cache
def _creator(server_url: str) -> "psycopg2.extensions.cursor":
    """Return a cursor of a connection that makes databases: to open one takes a third of the time of a database."""
    connection = psycopg2.connect(_of_server(server_url))
    connection.autocommit = True
    return connection.cursor()


def _of_server(server_url: str, database: str | None = None) -> str:
    url = parse_url(server_url)
    return url.set(drivername="postgresql", database=database or url.database).render_as_string(hide_password=False)


@pytest.fixture
def database_url(embedded_url: str) -> str:
    """A database of the test's own with the tables and nothing in them."""
    return database_with_tables(embedded_url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = connect(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def browser() -> Path:
    """The machine's Chromium; what needs it is skipped without it."""
    from tests.browser import chromium

    return chromium()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What any process of this run of the tests has prepared, and no other need prepare again."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def corpus(cache: Path) -> "Corpus":
    from model.data.corpus import prepare

    return prepare(BUILTIN, TokenizerConfig(vocab_size=512, sample_bytes=300_000), cache)


@pytest.fixture
def fresh_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A LILM_SEARCH_HOME of its own, reachable by PostgreSQL's user."""
    folder = _open_folder()
    monkeypatch.setenv("LILM_SEARCH_HOME", str(folder))
    monkeypatch.delenv("LILM_SEARCH_STORAGE", raising=False)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home(fresh_home: Path, cache: Path) -> Path:
    """The same, with what other tests have prepared."""
    (fresh_home / "cache").symlink_to(cache)
    return fresh_home


def run_cli(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own."""
    command, env = [*OURS, *arguments], {**os.environ, **env}
    return finish(Forked(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd="/"))


def finish(process: "subprocess.Popen[str]") -> "subprocess.CompletedProcess[str]":
    """Wait for a command; where it takes too long, end it with the workers it has started."""
    with process:
        try:
            out, err = process.communicate(timeout=CLI_SECONDS)
        except BaseException:
            process.terminate()  # a killed `start` would leave its workers behind, which are in sessions of their own
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=END_SECONDS)
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
