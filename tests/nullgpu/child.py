"""The part that runs on the null GPU: `python -m tests.nullgpu.child GROUP OUT` writes JSON, a line for each entry."""

import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main(group: str, out: Path, *chosen: str) -> None:
    """Run the group's entries in turn, each failure its own; a line before each says which is under way."""
    if group.startswith("measure-"):
        from tests.nullgpu import measures

        entries: dict[str, Callable[[], Any]] = measures.named(group.removeprefix("measure-"))
    else:
        from tests.nullgpu import checks

        entries = checks.named(group)
    with out.open("a") as file:
        for name, run in entries.items():
            if chosen and not any(word in name for word in chosen):
                continue
            print(json.dumps({"entry": name}), file=file, flush=True)
            start = time.perf_counter()
            line: dict[str, Any] = {"entry": name}
            try:
                line["found"] = run()
            except Exception as error:
                traceback.print_exc()
                line["error"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            line["seconds"] = time.perf_counter() - start
            print(json.dumps(line), file=file, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
