import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import storage.server.embedded as embedded_module
from storage.errors import EmbeddedError
from storage.server.database import parse_url
from storage.server.embedded import _Server, _unprivileged, embedded
from tests.conftest import CLI_SECONDS, _open_folder
from tests.forking.context import forked


@pytest.fixture
def folder() -> Iterator[Path]:
    parent = _open_folder()
    yield parent / "postgres"
    shutil.rmtree(parent, ignore_errors=True)


def runs(folder: Path) -> bool:
    return _Server(folder, _unprivileged())._ctl("status").returncode == 0


def _hold(folder: Path, ready: Any, leave: Any) -> None:
    with embedded(folder) as url:
        ready.put(url)
        leave.get()


def test_processes_share_one_server_and_the_last_stops_it(folder: Path) -> None:
    ready, leave = forked.Queue(), forked.Queue()
    both = [forked.Process(target=_hold, args=(folder, ready, leave)) for _ in range(2)]
    for process in both:
        process.start()
    assert ready.get(timeout=CLI_SECONDS) == ready.get(timeout=CLI_SECONDS)
    assert runs(folder)
    leave.put(None)
    while all(p.is_alive() for p in both):
        for process in both:
            process.join(0.05)
    assert runs(folder)
    leave.put(None)
    for process in both:
        process.join(CLI_SECONDS)
    assert not runs(folder)


def test_data_outlives_the_server_and_a_killed_client_does_it_no_harm(folder: Path) -> None:
    ready, never = forked.Queue(), forked.Queue()
    client = forked.Process(target=_hold, args=(folder, ready, never))
    client.start()
    url = ready.get(timeout=CLI_SECONDS)
    with sa.create_engine(parse_url(url), poolclass=sa.NullPool).begin() as connection:
        connection.execute(sa.text("CREATE TABLE kept (x int)"))
    assert client.pid is not None
    os.kill(client.pid, signal.SIGKILL)
    client.join(CLI_SECONDS)
    assert runs(folder)
    for _ in range(2):  # joins the orphaned server, then starts it anew
        with (
            embedded(folder) as again,
            sa.create_engine(parse_url(again), poolclass=sa.NullPool).connect() as connection,
        ):
            assert connection.execute(sa.text("SELECT count(*) FROM kept")).scalar_one() == 0
    assert not runs(folder)


def test_it_listens_on_loopback_behind_a_password(folder: Path) -> None:
    with embedded(folder) as url:
        parsed = parse_url(url)
        assert parsed.host == "127.0.0.1"
        with sa.create_engine(parsed, poolclass=sa.NullPool).connect() as connection:
            assert connection.execute(sa.text("SHOW listen_addresses")).scalar_one() == "127.0.0.1"
            assert connection.execute(sa.text("SHOW fsync")).scalar_one() == "on"
            methods = connection.execute(sa.text("SELECT DISTINCT auth_method FROM pg_hba_file_rules")).scalars().all()
        assert methods == ["scram-sha-256"]
        with pytest.raises(sa.exc.OperationalError, match="password"):
            sa.create_engine(parsed.set(password="guess"), poolclass=sa.NullPool).connect()
        assert (folder / "password").stat().st_mode & 0o077 == 0


def test_a_creation_that_was_cut_off_is_begun_again(folder: Path) -> None:
    (folder / "data.new").mkdir(parents=True)
    (folder / "data.new" / "PG_VERSION").write_text("18")
    with embedded(folder) as url:
        assert url


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
def test_programs_that_the_servers_user_cannot_reach_are_copied(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a virtual environment under /root, which is closed to others."""
    installed = embedded_module.installed_programs()
    package = installed.parent.parent
    for part in package.parent.glob(f"{package.name}*"):
        shutil.copytree(part, tmp_path / part.name, symlinks=True)
    tmp_path.chmod(0o700)
    monkeypatch.setattr(embedded_module, "installed_programs", lambda: tmp_path / installed.relative_to(package.parent))
    with embedded(folder) as url:
        assert sa.create_engine(parse_url(url), poolclass=sa.NullPool).connect().scalar(sa.text("SELECT 1")) == 1
    assert (folder / "programs").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
def test_a_folder_that_the_servers_user_cannot_reach_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match="LILM_SEARCH_HOME"), embedded(closed / "new" / "postgres"):
        pass
    assert list(closed.iterdir()) == []
