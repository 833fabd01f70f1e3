"""A lock that is held for too long: PostgreSQL 17 and later end its transaction, older ones aren't asked to."""

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from storage.queue.lease import lease
from storage.server import database as module
from storage.server.database import Database, connect, is_transient, parse_url
from tests.conftest import database_with_tables

SLEEP = sa.text("SELECT pg_sleep(50)")  # which no other limit ends


def test_a_holder_that_is_at_work_for_too_long_is_ended_has_changed_nothing_and_may_try_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE written (try int)"))
    ends: list[BaseException] = []

    def call() -> str:
        monkeypatch.setattr(module, "LOCK_MOST_SECONDS", 60 if ends else 0.2, raising=False)
        try:
            with database.atomic("x") as connection:
                connection.execute(sa.text("INSERT INTO written VALUES (:try)"), {"try": len(ends)})
                if not ends:
                    connection.execute(SLEEP)
                return "done"
        except BaseException as error:
            ends.append(error)
            raise

    assert database.retrying(call, sleep=lambda seconds: None) == "done"
    (end,) = ends
    assert isinstance(end, exc.OperationalError)
    assert (getattr(end.orig, "pgcode", ""), end.connection_invalidated) == (None, True)  # all that psycopg2 sees
    with database.engine.connect() as connection:
        assert list(connection.execute(sa.text("SELECT try FROM written")).scalars()) == [1]


def test_a_holder_that_was_silent_learns_it_at_the_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock's own transaction does nothing while the block runs; another waits for the lock until it is lost."""
    other = connect(database.engine.url.render_as_string(hide_password=False).replace("+psycopg2", ""))
    holder = database.lock("x")
    with monkeypatch.context() as short:
        short.setattr(module, "LOCK_MOST_SECONDS", 0.2, raising=False)
        holder.__enter__()
    with other.lock("x"):  # waits for 55 s at most, which is less than the idle limit
        pass
    other.close()
    with pytest.raises(exc.OperationalError) as caught:
        holder.__exit__(None, None, None)
    assert is_transient(caught.value)
    assert database.retrying(database.storage.get_all_studies) == []


def test_only_a_server_that_knows_the_limit_is_asked_for_it(any_server_url: str) -> None:
    opened = connect(database_with_tables(any_server_url))
    shown = sa.text(
        "SELECT name, setting FROM pg_settings WHERE name IN "
        "('transaction_timeout', 'idle_in_transaction_session_timeout')"
    )
    with opened.atomic("x") as connection:
        found = {row.name: row.setting for row in connection.execute(shown)}
    modern = int(opened.server_version().split(".")[0]) >= 17
    opened.close()
    assert found == {"idle_in_transaction_session_timeout": "30000"} | (
        {"transaction_timeout": "120000"} if modern else {}
    )


def test_a_shorter_limit_of_the_server_s_own_does_not_cut_a_lease(database_url: str) -> None:
    """A running limit isn't changed by another value, though SHOW tells the new one: it must be ended first."""
    options = {"options": "-c transaction_timeout=1s"}
    engine = sa.create_engine(parse_url(database_url), poolclass=sa.NullPool, connect_args=options)
    with lease(engine, "a") as mine:
        assert mine
        # The server's own clock: this one is ended where the lease would be.
        with engine.connect() as other, pytest.raises(exc.OperationalError):
            other.execute(SLEEP)
