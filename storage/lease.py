"""A lock for work that takes minutes: who can't have it is told at once, and asks again."""

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa

MOST_SECONDS = 1800
"""A holder that hangs for longer loses the lock: the server ends its session."""

# The server itself asks whether a silent holder's machine is still there, and ends its session after about 25 s.
_SESSION = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": f"{MOST_SECONDS}s",
}
SET = sa.text("SELECT set_config(:key, :value, true)")
TRY = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")


@contextlib.contextmanager
def lease(engine: sa.Engine, name: str) -> Iterator[bool]:
    """Hold a lock of this name while the block runs; yields False, holding nothing, where another holds it.

    It ends with its process, come what may; work under it must bear being done twice, since a restart of the
    server frees it too.
    """
    with engine.begin() as connection:
        for key, value in _SESSION.items():
            connection.execute(SET, {"key": key, "value": value})
        yield bool(connection.execute(TRY, {"name": name}).scalar_one())
