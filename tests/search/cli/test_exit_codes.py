"""By how a command ends, a script knows whether to run it again; a worker waits for a server that restarts."""

import socket
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
import typer

from model.errors import SettingsError
from search.cli import main as cli
from search.cli.error_messages import exit_code_and_message
from search.common.errors import HardwareError
from search.common.exit_codes import AWAY, FAULT, REFUSED
from search.common.signals import StopRequest
from search.study import connection
from search.study.connection import open_database
from storage.errors import BusyError, DeniedError, LoginError, UnreachableError
from storage.server.database import parse_url
from tests.conftest import run_cli
from tests.outages import Proxy

GONE = sa.exc.OperationalError("SELECT 1", {}, Exception("server closed the connection unexpectedly"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        *((kind("as it is"), REFUSED) for kind in (HardwareError, SettingsError, LoginError, DeniedError)),
        *((kind("for now"), AWAY) for kind in (UnreachableError, BusyError)),
        (GONE, AWAY),
        (KeyError("ours"), FAULT),
    ],
)
def test_what_may_go_well_later_is_told_from_what_will_not(error: Exception, code: int) -> None:
    given_code, message = exit_code_and_message(error)
    assert (given_code, message is None) == (code, code == FAULT)


def test_a_fault_is_shown_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(**options: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == FAULT
    assert "Traceback" in capsys.readouterr().err


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_command_without_a_server_says_so_with_its_code(fresh_home: Path) -> None:
    done = run_cli("status", "--study", "tiny", LILM_SEARCH_STORAGE=f"postgresql://u@127.0.0.1:{closed_port()}/d")
    assert (done.returncode, "Traceback" in done.stderr) == (AWAY, False)


def test_a_worker_waits_for_a_server_that_is_away_at_first(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    port = parse_url(database_url).port
    assert port is not None
    wire = Proxy(port)
    wire.cut()
    mending = threading.Timer(1.5, wire.mend)
    mending.start()
    with open_database(wire.url(database_url), "worker", StopRequest()) as database:
        assert database.server_version()
    mending.join()
    wire.close()
    assert "Trying again in 1 s" in capsys.readouterr().err


def test_it_does_not_wait_for_ever_nor_when_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    url, stop = f"postgresql://u@127.0.0.1:{closed_port()}/d", StopRequest()
    stop.ask()
    with pytest.raises(typer.Exit), open_database(url, "worker", stop):
        pass
    monkeypatch.setattr(connection, "MAX_AWAY_SECONDS", 0.0)
    with pytest.raises(UnreachableError), open_database(url, "worker", stop):
        pass


def test_a_refused_login_is_not_waited_for(database_url: str) -> None:
    wrong = parse_url(database_url).set(drivername="postgresql", password="Wr0ng").render_as_string(False)
    with pytest.raises(LoginError), open_database(wrong, "worker", StopRequest()):
        pass
