"""Limits on how long a transaction may be idle, and how long it may last."""

import sqlalchemy as sa

TRANSACTION_TIMEOUT = 17_00_00
"""First server version, in libpq's form, that can limit a transaction's whole length."""
IDLE = "set_config('idle_in_transaction_session_timeout', :idle, true)"
# A limit that runs already (an administrator's, for example) is only replaced if it is set to 0 first.
WHOLE = "set_config('transaction_timeout', '0', true), set_config('transaction_timeout', :whole, true)"


def limit(connection: sa.Connection, *, idle_seconds: float, whole_seconds: float) -> None:
    """Let the server end the transaction when idle for so long and, from PostgreSQL 17 on, so long from now.

    Its client sees a closed connection, without an SQLSTATE.
    """
    raw = connection.connection.driver_connection
    assert raw is not None
    settings = f"{IDLE}, {WHOLE}" if raw.server_version >= TRANSACTION_TIMEOUT else IDLE
    values = {"idle": f"{1000 * idle_seconds:.0f}ms", "whole": f"{1000 * whole_seconds:.0f}ms"}
    connection.execute(sa.text(f"SELECT {settings}"), values)
