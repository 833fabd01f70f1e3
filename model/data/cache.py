"""Cached folders that are complete or absent: built under another name, then renamed under a lock.

Many processes may need the same folder at once: one builds it, the others wait. A process that is killed leaves an
`.unfinished` folder, which no process reads and the next one removes.
"""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any


def locked(cache: Path, name: str) -> contextlib.AbstractContextManager[Any]:
    """Return a lock of this name, respected by all processes of the machine."""
    from filelock import FileLock

    folder = cache / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}.lock")


def scratch(folder: Path) -> Path:
    """Return an empty folder in which to build this one."""
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    return unfinished


def finish(unfinished: Path, folder: Path, meta: dict[str, Any]) -> None:
    """Record the files' sizes and `meta` in meta.json, and rename the scratch folder to its own name."""
    sizes = {f.name: f.stat().st_size for f in unfinished.iterdir()}
    (unfinished / "meta.json").write_text(json.dumps({"sizes": sizes, **meta}))
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def is_complete(folder: Path) -> bool:
    """Return whether the folder exists with every file at its full size."""
    try:
        sizes = json.loads((folder / "meta.json").read_text())["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, RecursionError):
        return False
