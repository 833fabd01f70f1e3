"""A lock for work that takes minutes: who can't have it is told at once, and asks again."""

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa

MOST_SECONDS = 1800
"""A holder that hangs for longer loses the lock: the server ends its session."""

SET = sa.text("SELECT set_config('idle_in_transaction_session_timeout', :limit, true)")
TRY = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")


@contextlib.contextmanager
def lease(engine: sa.Engine, name: str) -> Iterator[bool]:
    """Hold a lock of this name while the block runs; yields False, holding nothing, where another holds it.

    It ends with its process, and some 25 s after its machine (the keepalives of `storage.database`); work under it
    must bear being done twice, since a restart of the server frees it too.
    """
    with engine.begin() as connection:
        connection.execute(SET, {"limit": f"{1000 * MOST_SECONDS:.0f}ms"})
        yield bool(connection.execute(TRY, {"name": name}).scalar_one())
