"""A lock for work that takes minutes: a process that can't have it learns so at once, and tries again."""

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa

from storage.server.limits import limit

MOST_SECONDS = 1800
"""Seconds after which a holder that hangs loses the lock: the server ends its session."""
TRY = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")


@contextlib.contextmanager
def lease(engine: sa.Engine, name: str) -> Iterator[bool]:
    """Hold a lock of this name while the block runs; yield False, holding nothing, if another process holds it.

    The lock ends with its process, and some 25 s after its machine (the keepalives of `storage.server.database`).
    Work under it must be safe to do twice, since a restart of the server frees the lock too.
    """
    with engine.begin() as connection:
        limit(connection, idle_seconds=MOST_SECONDS, whole_seconds=MOST_SECONDS)
        yield bool(connection.execute(TRY, {"name": name}).scalar_one())
