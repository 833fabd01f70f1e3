"""A lock for work that takes minutes: who can't have it is told at once, and asks again."""

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa

MOST_SECONDS = 1800
"""A holder that hangs for longer loses the lock: the server ends its session."""

TRANSACTION_TIMEOUT = 17_00_00
"""Version of the server from which a transaction's whole length can be limited, as libpq tells it."""
IDLE = "set_config('idle_in_transaction_session_timeout', :idle, true)"
# A limit that runs already, an administrator's say, goes on as it was whatever is set, unless 0 comes first.
WHOLE = "set_config('transaction_timeout', '0', true), set_config('transaction_timeout', :whole, true)"
TRY = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")


@contextlib.contextmanager
def lease(engine: sa.Engine, name: str) -> Iterator[bool]:
    """Hold a lock of this name while the block runs; yields False, holding nothing, where another holds it.

    It ends with its process, and some 25 s after its machine (the keepalives of `storage.database`); work under it
    must bear being done twice, since a restart of the server frees it too.
    """
    with engine.begin() as connection:
        limit(connection, idle_seconds=MOST_SECONDS, whole_seconds=MOST_SECONDS)
        yield bool(connection.execute(TRY, {"name": name}).scalar_one())


def limit(connection: sa.Connection, *, idle_seconds: float, whole_seconds: float) -> None:
    """Let the server end the transaction after such a silence, and, from PostgreSQL 17 on, after such a time from now.

    Its client sees a closed connection, without an SQLSTATE. What an older server lacks isn't asked of it.
    """
    raw = connection.connection.driver_connection
    assert raw is not None
    settings = f"{IDLE}, {WHOLE}" if raw.server_version >= TRANSACTION_TIMEOUT else IDLE
    asked = {"idle": f"{1000 * idle_seconds:.0f}ms", "whole": f"{1000 * whole_seconds:.0f}ms"}
    connection.execute(sa.text(f"SELECT {settings}"), asked)
