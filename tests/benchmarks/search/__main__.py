"""Replay whole searches on the table of real trainings, at equal cost, and print what they export.

    python -m tests.benchmarks.search --replays 100 --jobs 2 --out search.jsonl
    python -m tests.benchmarks.search --replays 100 --arms ours --tree ../earlier --label 1c68674 --out search.jsonl
    python -m tests.benchmarks.search --arms PriorBand --out search.jsonl \\
        --peer 'PriorBand=../neps/bin/python tests/benchmarks/search/peer_neps.py priorband'

    python -m tests.benchmarks.search --controls --arms ours --workers 8 --budgets 10 --out controls.jsonl

With `--controls` the tables are made by formula (controls.py), each kept in a file of its own beside `--out`.

`ours` is the very code that workers run, of this tree or of the one that `--tree` names (a `git worktree` of another
commit). Its trainer is the table, its clock simulated, its database in memory. What is in `--out` isn't run again.
"""

import argparse
import shlex
import sys
from functools import partial
from pathlib import Path

from tests.benchmarks.table.rows import TABLE, read


def main() -> None:
    """Replay, and print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--arms", nargs="*", help="ways to search; without any, all")
    parser.add_argument("--budgets", type=float, nargs="*", default=[5, 10, 20, 40], help="money, in long runs")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--replays", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first replay, which is its seed")
    parser.add_argument("--jobs", type=int, default=1, help="replays at once")
    parser.add_argument("--table", type=Path, default=TABLE, help="file of the table")
    parser.add_argument("--controls", action="store_true", help="tables by formula in the place of the table")
    parser.add_argument("--tree", type=Path, help="checkout whose code is `ours`; without one, this")
    peer = "a further arm, by another program: see peers.py"
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND", help=peer)
    parser.add_argument("--label", default="ours", help="what `ours` is called in the figures")
    parser.add_argument("--out", type=Path, help="finished replays, as JSON lines")
    options = parser.parse_args()
    if options.tree is not None:
        sys.path.insert(0, str(options.tree.resolve()))  # before anything of the project is imported
    from tests.benchmarks.search import arms, controls, figures, peers, replays

    for name, _, command in (given.partition("=") for given in options.peer):
        arms.ARMS[name] = peers.Peer(tuple(shlex.split(command)))
    chosen = options.arms or list(arms.ARMS)
    if unknown := set(chosen) - set(arms.ARMS):
        parser.error(f"--arms has {sorted(unknown)}, but may have: {', '.join(arms.ARMS)}")
    tasks = [
        replays.Task(arm, budget, workers, number)
        for number in range(options.first, options.first + options.replays)
        for workers in options.workers
        for budget in options.budgets
        for arm in chosen
    ]
    tables = controls.CONTROLS if options.controls else {"": partial(read, options.table)}
    for name, table in tables.items():
        out = options.out and options.out.with_stem("-".join([options.out.stem, *name.split()]))
        found = replays.run_all(table(), tasks, options.label, options.jobs, out)
        print(f"{name}\n\n" * bool(name) + figures.report(found, "ours") + "\n" * bool(name))


if __name__ == "__main__":
    main()
