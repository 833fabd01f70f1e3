"""A lock for work that takes minutes: who can't have it is told at once, and asks again."""

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa

from storage.server.limits import limit

MOST_SECONDS = 1800
"""A holder that hangs for longer loses the lock: the server ends its session."""
TRY = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")


@contextlib.contextmanager
def lease(engine: sa.Engine, name: str) -> Iterator[bool]:
    """Hold a lock of this name while the block runs; yields False, holding nothing, where another holds it.

    It ends with its process, and some 25 s after its machine (the keepalives of `storage.server.database`); work
    under it must bear being done twice, since a restart of the server frees it too.
    """
    with engine.begin() as connection:
        limit(connection, idle_seconds=MOST_SECONDS, whole_seconds=MOST_SECONDS)
        yield bool(connection.execute(TRY, {"name": name}).scalar_one())
