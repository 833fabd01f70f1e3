import os
import signal
import time
from typing import Any

import pytest
import sqlalchemy as sa

from storage.queue import lease as leases
from storage.queue.lease import lease
from storage.server.database import Database, parse_url
from tests.conftest import CLI_SECONDS
from tests.forking.context import forked


def test_one_holds_it_the_other_is_told_at_once(database: Database) -> None:
    with lease(database.engine, "a") as first:
        with lease(database.engine, "a") as second, lease(database.engine, "b") as other:
            assert (first, second, other) == (True, False, True)
        assert first
    with lease(database.engine, "a") as third:
        assert third


def _hold(url: str, held: Any) -> None:
    with lease(sa.create_engine(parse_url(url)), "a") as mine:
        held.put(mine)
        signal.pause()


def _free_at_last(database: Database) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with lease(database.engine, "a") as mine:
            if mine:
                return True
        time.sleep(0.05)
    return False


def test_it_ends_with_its_process(database: Database, database_url: str) -> None:
    held = forked.Queue()
    holder = forked.Process(target=_hold, args=(database_url, held))
    holder.start()
    assert held.get(timeout=CLI_SECONDS)
    with lease(database.engine, "a") as mine:
        assert not mine
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join(CLI_SECONDS)
    assert _free_at_last(database)


def test_who_hangs_loses_it(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "MOST_SECONDS", 0.1)
    holder = lease(database.engine, "a")
    assert holder.__enter__()
    monkeypatch.setattr(leases, "MOST_SECONDS", 60)
    assert _free_at_last(database)
    with pytest.raises(sa.exc.DBAPIError):  # the holder is told at the end
        holder.__exit__(None, None, None)


def test_the_server_is_asked_to_notice_a_vanished_machine(database: Database) -> None:
    asked = {}
    shown = sa.text("SELECT name, setting FROM pg_settings WHERE name LIKE 'tcp_keepalives%'")

    @sa.event.listens_for(database.engine, "commit")
    def look(connection: sa.Connection) -> None:
        asked.update({row.name: row.setting for row in connection.execute(shown)})

    with lease(database.engine, "a"):
        pass
    assert asked == {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
