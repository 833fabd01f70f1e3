"""Troubles of a server, most of them made on a real one."""

import socket
import threading
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from search.cloud.credentials import issue
from search.doctor.database import Opening, checks, look, of_clock, of_error
from search.doctor.finding import Finding, examine
from search.study.plan import Plan
from search.study.study import open_study
from storage.access.roles import NewCredential
from storage.errors import EmbeddedError, LoginError, StorageError
from storage.server.database import Database, connect, parse_url
from tests.search.tiny import PLAN

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def at(url: str) -> Opening:
    def opened() -> AbstractContextManager[Database]:
        return closing(connect(url))

    return opened


def told(url: str) -> dict[str, Finding]:
    return {f.name: f for f in look(at(url), "PostgreSQL")}


def other(url: str, **changes: object) -> str:
    return parse_url(url).set(drivername="postgresql", **changes).render_as_string(False)  # type: ignore[arg-type]


def test_a_server_that_is_well(database_url: str) -> None:
    found = told(database_url)
    assert {name: f.state for name, f in found.items()} == dict.fromkeys(("database", "connections", "clock"), "ok")
    assert found["database"].found.startswith("PostgreSQL 18")


def test_servers_that_do_not_answer_refuse_or_have_no_such_database(database_url: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    open_file = tmp_path / "credential"
    open_file.write_text(database_url)
    open_file.chmod(0o644)
    for url, said, cure in (
        (other(database_url, port=port), "can't be reached", "check host and port"),
        (other(database_url, password="Wr0ng-Secret"), "refuses the login", "credential new"),
        (other(database_url, database="none"), 'database "none" does not exist', "credential new"),
        ("mysql://u@h/d", "must be PostgreSQL", ""),
        (f"file:{open_file}", "others can read it", "chmod 600"),
    ):
        found = told(url)["database"]
        assert (found.state, said in found.found, "Wr0ng" in found.found) == ("BAD", True, False), found
        assert cure in f"{found.cure} {found.found}"


def test_refusals_have_a_cure_apart() -> None:
    found = of_error(LoginError("h is not proven to be that server: no root. Name the authority with sslrootcert"))
    assert (found.found, found.cure[:22]) == ("h is not proven to be that server: no root", "export LILM_SEARCH_CA=")
    assert "LILM_SEARCH_HOME" in of_error(EmbeddedError("PostgreSQL can't be started")).cure
    old = of_error(StorageError("postgresql://h/d is PostgreSQL 12, but 13 or later is needed"))
    assert (old.state, old.cure) == ("BAD", "upgrade the server to PostgreSQL 13 or later")


def credential(database: Database, url: str, *, expires: str, connections: int) -> tuple[NewCredential, str]:
    open_study(database, Plan.parse(PLAN, name="tiny", origin="a test"))
    issued = issue(database, "tiny", "box", expires, connections)
    return issued, other(url, username=issued.role, password=issued.password)


def limit(database: Database, issued: NewCredential, what: str) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.text(f'ALTER ROLE "{issued.role}" {what}'))


def test_a_login_that_ends_soon_or_has_few_connections(database: Database, database_url: str) -> None:
    issued, url = credential(database, database_url, expires="1h", connections=12)
    found = told(url)
    assert found["login"].state == "note"
    assert found["login"].found in (f"{issued.role} ends in 59.9 min", f"{issued.role} ends in 60 min")
    assert (found["connections"].state, "room for" in found["connections"].found) == ("note", True)
    limit(database, issued, "CONNECTION LIMIT 2")  # one less than a worker wants
    few = told(url)["connections"]
    assert (few.state, few.found.startswith("our login admits 2"), "--connections" in few.cure) == ("BAD", True, True)
    limit(database, issued, "CONNECTION LIMIT 0")
    none = told(url)["database"]
    assert (none.state, "too many connections" in none.found, "--connections" in none.cure) == ("BAD", True, True)
    limit(database, issued, "CONNECTION LIMIT 20 VALID UNTIL '2031-01-01'")
    assert told(url)["login"].state == "ok"


@pytest.mark.parametrize(
    ("ahead", "sure", "state", "said"),
    [
        (0.1, 0.01, "ok", "agree"),
        (-4.0, 0.0, "ok", "agree"),
        (9.0, 6.0, "ok", "agree"),  # an answer that took long proves little
        (60.0, 1.0, "note", "59 s ahead of ours"),
        (-7200.0, 0.0, "BAD", "2 h behind ours"),
    ],
)
def test_clocks_are_compared_within_what_the_answer_took(ahead: float, sure: float, state: str, said: str) -> None:
    found = of_clock(ahead, sure)
    assert (found.state, said in found.found) == (state, True), found


def test_one_that_says_nothing_is_not_waited_for(database_url: str) -> None:
    (check,) = checks(partial(_never, at(database_url)), "PostgreSQL")
    (found,) = examine([replace(check, seconds=0.2)])
    assert (found.name, found.state) == ("database", "BAD")


def _never(opening: Opening) -> AbstractContextManager[Database]:
    threading.Event().wait(20)
    return opening()
