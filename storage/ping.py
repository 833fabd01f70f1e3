"""Whether the study's server answers: `python -m storage.ping`, for a container's health check.

It imports the driver alone and leaves the GPU be: what trains beside it must not be disturbed.
"""

import os
import re
import sys

import psycopg2


def answers(url: str | None) -> bool:
    """Return whether the server behind the URL answers; an embedded one (no URL) is its worker's own matter."""
    if not url:
        return True
    try:
        psycopg2.connect(re.sub(r"^postgres(ql)?(\+psycopg2)?://", "postgresql://", url), connect_timeout=5).close()
    except psycopg2.Error:
        return False
    return True


if __name__ == "__main__":
    sys.exit(0 if answers(os.environ.get("LILM_SEARCH_STORAGE")) else 1)
