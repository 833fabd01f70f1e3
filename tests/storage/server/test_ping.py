"""What the container's health check tells, and to whom."""

import io
import os
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from storage.server.database import parse_url
from storage.server.ping import answers
from tests.conftest import CLI_SECONDS

SECRET = "s3cr3t-Pa55-w0rd"
ASK_CLEARTEXT = b"R\0\0\0\x08\0\0\0\x03"
SSL_REQUEST = b"\x04\xd2\x16\x2f"


class Between:
    """Whoever is between: has no TLS, and asks for the password itself."""

    def __init__(self) -> None:
        self.heard = b""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with client:
                while said := client.recv(4096):
                    self.heard += said
                    client.sendall(b"N" if said.endswith(SSL_REQUEST) else ASK_CLEARTEXT)

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def between() -> Iterator[Between]:
    server = Between()
    yield server
    server.close()


@pytest.mark.parametrize("tls", ["", "&sslmode=disable", "&sslmode=require"])
def test_the_password_is_told_to_nobody_in_the_middle(tls: str, between: Between) -> None:
    url = f"postgresql://u:{SECRET}@db.example.org:{between.port}/d?hostaddr=127.0.0.1{tls}"
    assert not answers(url)
    assert between.heard
    assert SECRET.encode() not in between.heard


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [k for k in os.environ if k.startswith(("LILM_SEARCH", "PG"))]:
        monkeypatch.delenv(name)


def ping(**settings: str) -> tuple[int, str]:
    """Return the exit code of the command, run in this process, and its errors."""
    errors = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()), redirect_stderr(errors):
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.delitem(sys.modules, "storage.server.ping")
        with pytest.raises(SystemExit) as end:
            runpy.run_module("storage.server.ping", run_name="__main__")
    return int(end.value.code or 0), errors.getvalue()


def ping_process(**settings: str) -> tuple[int, str]:
    """The same, in a process of its own."""
    command = [sys.executable, "-m", "storage.server.ping"]
    env = {**os.environ, **settings}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=CLI_SECONDS, check=False)
    return done.returncode, done.stderr


@pytest.mark.usefixtures("bare_environment")
def test_it_finds_the_server_as_a_worker_does(database_url: str, tmp_path: Path) -> None:
    file, gone, password = tmp_path / "url", tmp_path / "gone", tmp_path / "password"
    for path, text in (
        (file, database_url),
        (gone, f"postgresql://u:{SECRET}@127.0.0.1:1/d"),
        (password, str(parse_url(database_url).password)),
    ):
        path.write_text(text)
        path.chmod(0o600)
    bare = (
        parse_url(database_url)._replace(drivername="postgresql", password=None).render_as_string(hide_password=False)
    )
    assert ping() == (0, "")
    for run in (ping, ping_process):
        assert run(LILM_SEARCH_STORAGE=f"file:{file}") == (0, "")
    assert ping(LILM_SEARCH_STORAGE_FILE=str(file)) == (0, "")
    assert ping(LILM_SEARCH_STORAGE=bare, LILM_SEARCH_PASSWORD_FILE=str(password)) == (0, "")
    assert ping(LILM_SEARCH_STORAGE=bare)[0] == 1
    for run in (ping, ping_process):
        code, errors = run(LILM_SEARCH_STORAGE_FILE=str(gone))
        assert code == 1
        assert "refused" in errors
        assert errors.count("\n") == 1
        assert SECRET not in errors
    gone.chmod(0o644)
    assert "others can read it" in ping(LILM_SEARCH_STORAGE_FILE=str(gone))[1]


def test_it_leaves_what_trains_alone() -> None:
    code = "import sys, storage.server.ping; sys.exit(bool({'torch', 'optuna'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=CLI_SECONDS, check=False).returncode == 0
