"""Whether the study's server answers: `python -m storage.server.ping`, for a container's health check.

It reaches the server as a worker does, by the same environment, and imports neither Optuna nor torch: what trains
beside it must not be disturbed.
"""

import os
import sys

import psycopg2
import sqlalchemy as sa

from storage.errors import StorageError, first_line
from storage.redaction import guard_streams, redact
from storage.server.address import settled, stored_url


def answers(url: str | None) -> bool:
    """Return whether the server behind the URL answers; an embedded one (no URL) is its worker's own matter."""
    if not url:
        return True
    try:
        engine = sa.create_engine(settled(url), poolclass=sa.NullPool, connect_args={"connect_timeout": 5})
        engine.raw_connection().close()
    except (StorageError, psycopg2.Error) as error:
        print(f"error: {redact(first_line(error))}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    guard_streams()
    sys.exit(0 if answers(os.environ.get("LILM_SEARCH_STORAGE") or stored_url()) else 1)
