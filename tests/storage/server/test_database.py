from contextlib import AbstractContextManager

import psycopg2
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import BusyError, LoginError, StorageError, UnreachableError
from storage.redaction import redact
from storage.server import database as module
from storage.server.database import Database, connect, parse_url
from tests.conftest import fresh_database
from tests.forking.context import forked

SECRET = "s3cr3t-Pa55"


def changed(url: str, **parts: str) -> str:
    return parse_url(url).set(drivername="postgresql", **parts).render_as_string(hide_password=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parts", "error", "says"),
    [
        ({"password": SECRET}, LoginError, "wrong user or password"),
        ({"username": "nobody_here", "password": SECRET}, LoginError, "wrong user or password"),
        ({"database": "not_there"}, LoginError, "does not exist"),
    ],
)
def test_a_refused_login_says_why_and_hides_the_password(
    database_url: str, parts: dict[str, str], error: type[StorageError], says: str
) -> None:
    url = changed(database_url, **parts)
    with pytest.raises(error) as caught:
        connect(url)
    message = str(caught.value)
    assert says in message
    assert str(parse_url(url).password) not in message
    assert caught.value.__cause__ is None
    assert "\n" not in message


def test_an_unreachable_server_is_told_apart() -> None:
    with pytest.raises(UnreachableError, match=r"can't be reached: Connection refused") as caught:
        connect(f"postgresql://lilm:{SECRET}@127.0.0.1:1/lilm")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite:///study.db", f"mysql://u:{SECRET}@h/d", "babylm", ""])
def test_only_postgresql_will_do(url: str) -> None:
    with pytest.raises(StorageError, match=r"must be PostgreSQL: postgresql://USER") as caught:
        connect(url)
    assert SECRET not in str(caught.value)


@given(st.text(alphabet="abcXYZ019!$%*-_.:", min_size=6))
def test_no_password_survives_redaction(password: str) -> None:
    assert password not in redact(f"postgresql://user:{password}@host:5432/name")
    assert password not in redact(f"postgresql://host/name?user=u&password={password}&sslmode=require")
    assert redact("postgresql://user@host/name") == "postgresql://user@host/name"


def _open(url: str) -> None:
    connect(url).close()


def test_many_may_open_an_empty_database_at_once(embedded_url: str) -> None:
    url = fresh_database(embedded_url)
    processes = [forked.Process(target=_open, args=(url,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
        assert process.exitcode == 0


def test_sessions_are_in_utc_and_never_idle_in_a_transaction_for_ever(database: Database) -> None:
    with database.engine.connect() as connection:
        shown = {
            k: connection.execute(sa.text(f"SHOW {k}")).scalar_one()
            for k in ("timezone", "statement_timeout", "idle_in_transaction_session_timeout", "tcp_keepalives_idle")
        }
    assert shown == {
        "timezone": "UTC",
        "statement_timeout": "1min",
        "idle_in_transaction_session_timeout": "1min",
        "tcp_keepalives_idle": "10",
    }


def test_who_waits_for_a_lock_in_vain_is_told_so(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("statement_timeout", "lock_timeout"):  # a twentieth of them
        monkeypatch.setitem(module._SESSION, key, f"{50 * int(module._SESSION[key].removesuffix('s'))}ms")
    first, second = connect(database_url), connect(database_url)
    with (
        first.lock("x"),
        pytest.raises(BusyError, match='for the lock "x"; another process holds it'),
        second.lock("x"),
    ):
        pass
    for opened in (first, second):
        opened.close()


def test_a_lock_is_lost_by_who_is_stopped(database: Database) -> None:
    found = []

    @sa.event.listens_for(database.engine, "commit")
    def look(connection: sa.Connection) -> None:
        found.append(connection.scalar(sa.text("SHOW idle_in_transaction_session_timeout")))

    with database.lock("x"):
        pass
    assert found == ["2min"]


def test_a_statement_alone_is_kept_at_once_and_the_next_transaction_is_one_again(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE kept (x int)"))

    def insert(x: int, block: AbstractContextManager[sa.Connection]) -> None:
        with block as connection:
            connection.execute(sa.text("INSERT INTO kept VALUES (:x)"), {"x": x})
            raise RuntimeError("cut off after the statement")

    for x, block in ((1, database.autocommit()), (2, database.engine.begin()), (3, database.autocommit())):
        with pytest.raises(RuntimeError, match="cut off"):
            insert(x, block)
    with database.engine.connect() as connection:
        assert list(connection.execute(sa.text("SELECT x FROM kept")).scalars()) == [1, 3]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def outage() -> sa.exc.OperationalError:
    return sa.exc.OperationalError("SELECT 1", {}, psycopg2.OperationalError("server closed the connection"))


def test_an_outage_is_waited_for(database: Database) -> None:
    clock, outages = Clock(), [outage(), outage()]

    def call() -> str:
        if outages:
            raise outages.pop()
        return "here"

    assert database.retrying(call, clock=lambda: clock.now, sleep=clock.sleep) == "here"
    assert clock.now == pytest.approx(0.5 + 1.0)


def test_an_outage_without_end_is_given_up(database: Database) -> None:
    clock = Clock()

    def call() -> None:
        raise outage()

    with pytest.raises(UnreachableError, match="has not answered for 60 s"):
        database.retrying(call, give_up_seconds=60, clock=lambda: clock.now, sleep=clock.sleep)
    assert 60 <= clock.now < 80


def test_other_errors_are_not_retried(database: Database) -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        raise KeyError("mine")

    with pytest.raises(KeyError):
        database.retrying(call)
    assert calls == 1


def test_a_cut_connection_heals(database: Database) -> None:
    """Every connection of this process is ended by the server; the next call goes through."""
    cut = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    database.storage.get_all_studies()
    with database.engine.connect() as connection:
        connection.execute(cut)
    assert database.retrying(database.storage.get_all_studies) == []
