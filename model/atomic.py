"""Files and folders that are there whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a place beside the path; what is written there takes its name, at once, where the block ends well.

    A file replaces one that was there; a folder only an empty one. A link stays, and what it stands for is replaced;
    a device or pipe, such as /dev/stdout, is written to as it is.
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
    """Return whether a path is there and neither a file nor a folder."""
    return path.exists() and not path.is_file() and not path.is_dir()


def why_not(path: Path, error: OSError) -> str:
    """Return why a path can't be read or written, naming the folder where that is what is missing."""
    if isinstance(error, FileNotFoundError) and not path.parent.exists():
        return f"the folder {path.parent} does not exist"
    return error.strerror or str(error)
