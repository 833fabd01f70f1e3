"""Runs the parts under a limit of minutes, each in a process of its own, and keeps every row as it comes."""

import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.quick.parts import PARTS
from tests.benchmarks.quick.scale import Part, Scale, full, tiny

LEAST_SHARE = 0.6
"""Share of the seconds that a part is expected to take, below which it isn't begun."""


def scale_of(device: torch.device, rehearse: bool) -> Scale:
    """Return the full scale on a GPU, the tiny one for a rehearsal."""
    return tiny(device) if rehearse else full(device)


Measure = Callable[[Part, torch.device, float, bool, Path], dict[str, Any]]


def run(
    device: torch.device,
    minutes: float,
    out: Path,
    rehearse: bool = False,
    parts: Sequence[Part] = PARTS,
    *,
    measure: Measure | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Run what the minutes are enough for, print each part's table and write all so far to `out`; return it.

    `measure` runs a part within the seconds that are left: without it, in a process of its own.
    """
    end, measure = clock() + 60 * minutes, measure or _in_a_process
    found: dict[str, Any] = {"device": str(device), "torch": str(torch.__version__), "day": str(datetime.date.today())}
    found |= {"minutes": minutes, "rehearsal": rehearse, "parts": {}}
    with tempfile.TemporaryDirectory() as caches:  # empty: what is compiled first is compiled cold
        for part in parts:
            left = end - clock()
            expected = 0 if rehearse else part.seconds
            if left < LEAST_SHARE * expected or left <= 0:
                result: dict[str, Any] = {"left out": f"{max(left, 0):.0f} s left, it takes about {part.seconds} s"}
            else:
                result = measure(part, device, left, rehearse, Path(caches))
            found["parts"][part.name] = {"question": part.question, **result}
            out.write_text(json.dumps(found, indent=1))
            print(f"\n### {part.name}: {part.question}\n\n{table(result)}", flush=True)
    return found


def _in_a_process(part: Part, device: torch.device, seconds: float, rehearse: bool, caches: Path) -> dict[str, Any]:
    """Return the part's rows, and how it ended where it did not end well; it ends with the time."""
    lines = caches / f"{part.name}.rows"
    environment = {
        **os.environ,
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"),
        "TRITON_CACHE_DIR": str(caches / "triton"),
    }
    command = [sys.executable, "-m", "tests.benchmarks.quick.run", part.name, str(device), str(lines)]
    command += ["rehearse"] if rehearse else []
    start, end = time.monotonic(), ""
    try:
        done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, timeout=seconds, check=False)
        if done.returncode:
            end = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        end = f"cut off after {seconds:.0f} s: the time was up"
    written = lines.read_text().splitlines() if lines.exists() else []
    rows = dict(json.loads(line) for line in written if line.endswith("]"))
    return {"seconds": time.monotonic() - start, "rows": rows, **({"ended": end} if end else {})}


def table(result: dict[str, Any]) -> str:
    """Return a part's rows as Markdown, and how it ended where it isn't whole."""
    rows: dict[str, dict[str, Any]] = result.get("rows", {})
    keys = list(dict.fromkeys(key for figures in rows.values() for key in figures))
    lines = []
    if rows:
        lines += ["| | " + " | ".join(keys) + " |", "|---|" + "---:|" * len(keys)]
        for name, figures in rows.items():
            lines.append(f"| {name} | " + " | ".join(_cell(figures.get(key)) for key in keys) + " |")
    for word in ("left out", "ended"):
        if word in result:
            lines += [*([""] if lines else []), f"{word}: {result[word]}"]
    return "\n".join(lines) or "no rows"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return (
        "" if value is None else f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    )


def one(name: str, device: torch.device, lines: Path, rehearse: bool) -> None:
    """Measure one part, a line of JSON for each row."""
    part = next(p for p in PARTS if p.name == name)
    with lines.open("w") as file:
        for row in part.rows(scale_of(device, rehearse)):
            print(json.dumps(row), file=file, flush=True)


if __name__ == "__main__":
    one(sys.argv[1], torch.device(sys.argv[2]), Path(sys.argv[3]), "rehearse" in sys.argv[4:])
