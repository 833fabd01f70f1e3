"""Journal of a worker's messages that the server hasn't acknowledged: a file that outlives the worker."""

import contextlib
import fcntl
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Message = dict[str, Any]
"""One report, attribute or end of a trial; see `storage.outbox.messages`."""


class Journal:
    """Undelivered messages, one to a line of a file that only its owner can read.

    The file is locked as long as this process lives: a file that can be locked is a dead worker's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / f"{uuid.uuid4().hex}.jsonl"
        self._file: int | None = None
        self._torn = False

    def append(self, message: Message) -> None:
        """Write a message; raises OSError if the disk doesn't take it, and may then be called again."""
        line = ("\n" if self._torn else "") + json.dumps(message) + "\n"
        if self._file is None:
            self._file = self._create()
        self._torn = True
        data = line.encode()
        if os.write(self._file, data) != len(data):
            raise OSError(f"{self._path}: the disk is full")
        self._torn = False

    def clear(self) -> None:
        """Remove all messages, which have been delivered."""
        if self._file is not None:
            os.ftruncate(self._file, 0)

    def close(self) -> None:
        """Close the file; it is removed unless messages are left in it."""
        if self._file is not None:
            if os.fstat(self._file).st_size == 0:
                self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None

    def _create(self) -> int:
        """Create the file under a name that no other process looks for, and rename it once it is locked."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        unlocked = self._path.with_suffix(".new")
        file = os.open(unlocked, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            unlocked.rename(self._path)
        except OSError:
            os.close(file)
            raise
        return file


@contextlib.contextmanager
def leftover_messages(path: Path) -> Iterator[list[Message]]:
    """Yield the messages in a dead worker's file, and remove the file after the block; none if the worker lives.

    A line that was cut off by its writer's death is left out. If the block raises, the file stays.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:  # another process has delivered it
        yield []
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield []
            return
        yield list(_whole_lines(file.read()))
        path.unlink(missing_ok=True)


def _whole_lines(content: bytes) -> Iterator[Message]:
    for line in content.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            message = json.loads(line)
            if isinstance(message, dict):
                yield message
