import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.server.embedded import _unprivileged
from tests.conftest import CLI_SECONDS, _open_folder, _system_programs
from tests.deploy import machine


@contextmanager
def new_server() -> Iterator[machine.Server]:
    """A fresh machine after its first start: keys made, cluster created, roles given, no tables yet."""
    owner = _unprivileged()
    if owner is None or owner.name != "postgres":
        pytest.skip("who runs postgres must be called postgres: run as root on a machine that has this user")
    if not _system_programs() or shutil.which("openssl") is None:
        pytest.skip("this machine has no PostgreSQL of its own, or no openssl")
    folder = _open_folder()
    os.chown(folder, owner.uid, owner.gid)
    try:
        done = machine.setup(folder)
        assert done.returncode == 0, done.stderr
        (folder / "out").chmod(0o755)
        server = machine.Server(folder, _system_programs()[0])
        server.create()
        process = server.start()
        try:
            server.first_start()
            yield server
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(CLI_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> Iterator[machine.Server]:
    with new_server() as started:
        started.make_tables()
        yield started


@pytest.fixture(scope="module")
def other_server() -> Iterator[machine.Server]:
    with new_server() as started:
        yield started


@pytest.fixture
def folder() -> Iterator[Path]:
    made = _open_folder()
    yield made
    shutil.rmtree(made, ignore_errors=True)
