"""Files and folders that are written whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside this one; what is written there is renamed to it if the block ends without error.

    A file replaces an existing one; a folder only an empty one. A symbolic link stays, and its target is replaced;
    a device or pipe, such as /dev/stdout, is written to directly.
    """
    if is_device(path):
        yield path
        return
    path = path.resolve() if path.is_symlink() else path
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        unfinished.unlink(missing_ok=True)


def is_device(path: Path) -> bool:
    """Return whether a path exists and is neither a file nor a folder."""
    return path.exists() and not path.is_file() and not path.is_dir()


def why_not(path: Path, error: OSError) -> str:
    """Return why a path can't be read or written; if its folder is missing, say so."""
    if isinstance(error, FileNotFoundError) and not path.parent.exists():
        return f"the folder {path.parent} does not exist"
    return error.strerror or str(error)
