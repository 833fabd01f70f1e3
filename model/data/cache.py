"""Folders that are whole or not there: built beside their place, moved into it under a lock.

Many processes may want the same folder at once: one builds it, the others wait and find it. One that is cut off
leaves an `.unfinished` folder, which nobody reads and the next one clears away.
"""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any


def locked(cache: Path, name: str) -> contextlib.AbstractContextManager[Any]:
    """Return a lock of this name among all processes of the machine."""
    from filelock import FileLock

    folder = cache / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}.lock")


def scratch(folder: Path) -> Path:
    """Return an empty folder beside the one that is to be built."""
    place = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place


def finish(place: Path, folder: Path, facts: dict[str, Any]) -> None:
    """Write what the folder must hold, and move it from its scratch place to its own."""
    sizes = {f.name: f.stat().st_size for f in place.iterdir()}
    (place / "meta.json").write_text(json.dumps({"sizes": sizes, **facts}))
    shutil.rmtree(folder, ignore_errors=True)
    place.rename(folder)


def whole(folder: Path) -> bool:
    """Return whether the folder is there with every file at its full size."""
    try:
        sizes = json.loads((folder / "meta.json").read_text())["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, RecursionError):
        return False
