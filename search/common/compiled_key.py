"""The key with which workers sign compiled graphs: a secret of theirs that neither the database nor the files hold."""

import os
from pathlib import Path

from search.common.errors import SearchError
from storage.errors import StorageError
from storage.redaction import hide_secret
from storage.server.address import read_secret

COMPILED_KEY, COMPILED_KEY_FILE = "LILM_SEARCH_COMPILED_KEY", "LILM_SEARCH_COMPILED_KEY_FILE"
"""Environment variables: the key itself, and the path of a private file that holds it, which comes first."""
SHORTEST = 32
"""Fewest signs of a key: whoever can read a study's files can try keys on a signature as fast as they like."""


def compiled_key(file: Path | None = None) -> str | None:
    """Return the key of this file, else of the environment, hidden in all output from now on; None for none.

    Raises `SearchError` for one that is too short or has other signs, without showing it; `StorageError` for a file
    that others can read.
    """
    named = file or os.environ.get(COMPILED_KEY_FILE) or None
    try:
        key = read_secret(Path(named).expanduser()) if named else os.environ.get(COMPILED_KEY, "").strip()
    except StorageError as error:
        raise StorageError(f"the key of compiled graphs: {error}; see {COMPILED_KEY_FILE}") from None
    if not key:
        return None
    hide_secret(key)
    if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
        raise SearchError(
            f"the key of compiled graphs ({COMPILED_KEY}, {COMPILED_KEY_FILE}) has {len(key)} signs, but must be at "
            f"least {SHORTEST} visible ones of ASCII: openssl rand -hex 32 makes one"
        )
    return key


def hand_on(file: Path | None) -> None:
    """Have the processes that this one starts read the key from this file, if it is given.

    Raises as `compiled_key` does.
    """
    compiled_key(file)
    if file:
        os.environ[COMPILED_KEY_FILE] = str(file.expanduser().absolute())
