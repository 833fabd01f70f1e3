"""Asserts what only a GPU's own software shows, or measures it, without a GPU; see README.md beside this file."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from tests.nullgpu import tables
from tests.nullgpu.build import ROOT, NoNullGpuError, NullGpu
from tests.nullgpu.runs import CHECKS, MEASURES, Group, run


def main() -> int:
    """Do what was asked for; returns the exit code, 1 where an assertion failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.nullgpu", description=__doc__)
    parser.add_argument("--home", type=Path, default=ROOT / ".nullgpu", help="folder of the null GPU, 5 GB")
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout whose model/ is run; default: this one")
    parser.add_argument("--measure", action="store_true", help="print figures instead of asserting")
    parser.add_argument("--groups", nargs="*", help="only these groups")
    parser.add_argument("--entries", nargs="*", default=[], help="only entries whose name has one of these in it")
    parser.add_argument("--out", type=Path, help="of --measure: keep the figures there, as JSON, after each group")
    parser.add_argument("--compare", type=Path, nargs="+", help="print kept figures side by side, and run nothing")
    parser.add_argument("--run", nargs=argparse.REMAINDER, help="run Python with these arguments on the null GPU")
    options = parser.parse_args()
    if options.compare:
        print(tables.compared({path.stem: json.loads(path.read_text()) for path in options.compare}))
        return 0
    gpu = NullGpu(options.home)
    try:
        gpu.make()
    except NoNullGpuError as error:
        print(error, file=sys.stderr)
        return 1
    if options.run:
        command = [str(gpu.python), *options.run]
        return subprocess.run(command, env=gpu.environment(options.tree.resolve()), check=False).returncode
    return measure(gpu, options) if options.measure else check(gpu, options)


def check(gpu: NullGpu, options: argparse.Namespace) -> int:
    """Run the checks, a line for each; returns 1 where one failed."""
    start, number, failed = time.monotonic(), 0, 0
    for group in CHECKS:
        if options.groups and group.name not in options.groups:
            continue
        for outcome in run(gpu, options.tree, group, options.entries):
            number, failed = number + 1, failed + bool(outcome.faults)
            print(tables.line(outcome), flush=True)
    print(f"{number - failed} passed, {failed} failed, in {(time.monotonic() - start) / 60:.0f} minutes")
    return 1 if failed or not number else 0


def measure(gpu: NullGpu, options: argparse.Namespace) -> int:
    """Run the measurements and print a table; returns 1 where one could not be made."""
    found: dict[str, object] = {}
    errors = 0
    for name in options.groups or MEASURES:
        for outcome in run(gpu, options.tree, _measured(name), options.entries, cold=True):
            print(f"{outcome.entry}, {outcome.seconds:.0f} s", file=sys.stderr, flush=True)
            errors += outcome.error is not None
            found[outcome.entry] = outcome.found if outcome.error is None else outcome.error
        if options.out:
            options.out.write_text(json.dumps(found, indent=1))
    print(tables.compared({options.tree.resolve().name: found}))
    return 1 if errors else 0


def _measured(name: str) -> Group:
    return Group(name=f"measure-{name}", settings=(("NULLGPU_DEVICES", "2"),) if name == "forbidden" else ())


if __name__ == "__main__":
    sys.exit(main())
