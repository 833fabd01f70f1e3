"""Output files that a user named: checked before any work is done for them, written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from model.atomic import is_device, replacing, why_not
from search.common.errors import SearchError


def check(path: Path, option: str = "--out", *, new: str | None = None, example: Path | None = None) -> None:
    """Raise `SearchError` if the file can't be written.

    Args:
        path: the file, as the user named it.
        option: the option that named it.
        new: end of the message if the file exists, with what to do instead; without it such a file is replaced.
        example: a file name to suggest if the path is a folder.
    """
    with _explained(path, option):
        if path.is_dir():
            such_as = f", such as {example}" if example else ""
            raise SearchError(f"{option} is {path}, but that is a folder; name a file in it{such_as}")
        if new is not None and path.exists():
            raise SearchError(f"{option} is {path}, which exists{new}")
        if not is_device(path):
            check_place(path.resolve() if path.is_symlink() else path, option, path)


def check_place(path: Path, option: str, named: Path | None = None) -> None:
    """Raise `SearchError` if the folder of this path doesn't allow a file to be created in it.

    `named` is the path for the message, if the user named a link to it.
    """
    named, folder = named or path, path.parent
    with _explained(named, option):
        if folder.exists() and not folder.is_dir():
            raise SearchError(f"{option} is {named}, but {folder} is no folder; name another place")
        if not folder.exists():
            raise SearchError(f"{option} is {named}, but the folder {folder} does not exist; create it first")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise SearchError(f"{option} is {named}, but you may not write into {folder}; choose another folder")


@contextlib.contextmanager
def writing(path: Path, option: str = "--out", *, new: str | None = None) -> Iterator[Path]:
    """Yield a temporary path to write to; it gets the file's name if the block succeeds. Raises `SearchError`."""
    check(path, option, new=new)
    with _explained(path, option), replacing(path) as unfinished:
        yield unfinished


def write(path: Path, content: str | bytes, option: str = "--out", *, new: str | None = None) -> None:
    """Write the file whole or not at all, text as UTF-8; raises `SearchError`."""
    with writing(path, option, new=new) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def _explained(path: Path, option: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SearchError(f"{option} is {path}, but it can't be written: {why_not(path, error)}") from None
