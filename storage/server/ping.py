"""Whether the study's server answers: `python -m storage.server.ping`, for a container's health check.

It connects as a worker does, by the same environment variables, and imports neither Optuna nor torch, so as not to
slow down training.
"""

import os
import sys

import psycopg2
import sqlalchemy as sa

from storage.errors import StorageError, first_line
from storage.redaction import guard_streams, redact
from storage.server.address import resolve, stored_url


def answers(url: str | None) -> bool:
    """Return whether the server of this URL answers; True for None, an embedded server, which its worker starts."""
    if not url:
        return True
    try:
        engine = sa.create_engine(resolve(url), poolclass=sa.NullPool, connect_args={"connect_timeout": 5})
        engine.raw_connection().close()
    except (StorageError, psycopg2.Error) as error:
        print(f"error: {redact(first_line(error))}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    guard_streams()
    sys.exit(0 if answers(os.environ.get("LILM_SEARCH_STORAGE") or stored_url()) else 1)
