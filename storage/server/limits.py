"""How long a transaction may be silent, and how long it may last."""

import sqlalchemy as sa

TRANSACTION_TIMEOUT = 17_00_00
"""Version of the server from which a transaction's whole length can be limited, as libpq tells it."""
IDLE = "set_config('idle_in_transaction_session_timeout', :idle, true)"
# A limit that runs already, an administrator's say, goes on as it was whatever is set, unless 0 comes first.
WHOLE = "set_config('transaction_timeout', '0', true), set_config('transaction_timeout', :whole, true)"


def limit(connection: sa.Connection, *, idle_seconds: float, whole_seconds: float) -> None:
    """Let the server end the transaction after such a silence, and, from PostgreSQL 17 on, after such a time from now.

    Its client sees a closed connection, without an SQLSTATE. What an older server lacks isn't asked of it.
    """
    raw = connection.connection.driver_connection
    assert raw is not None
    settings = f"{IDLE}, {WHOLE}" if raw.server_version >= TRANSACTION_TIMEOUT else IDLE
    asked = {"idle": f"{1000 * idle_seconds:.0f}ms", "whole": f"{1000 * whole_seconds:.0f}ms"}
    connection.execute(sa.text(f"SELECT {settings}"), asked)
