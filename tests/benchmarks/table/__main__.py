"""Make the table of real trainings on which `python -m tests.benchmarks.search` replays whole searches.

    python -m tests.benchmarks.table --text FILE.parquet --jobs 2    # hours of processors; stop and go on at any time
    python -m tests.benchmarks.table --text FILE.parquet --pack      # what is there so far, into the repository
    python -m tests.benchmarks.table --show                          # what the table in the repository says

Seconds are counted, not measured, as in `tests.benchmarks proxies`: the table comes out the same beside any other work.
"""

import argparse
import concurrent.futures
import hashlib
import math
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from model.data.corpus import prepare, text_sha256
from search.study.space import Params
from tests.benchmarks.proxies import CACHE, LONG, WHOLE, Job, Kept, Setup
from tests.benchmarks.table import order, training
from tests.benchmarks.table.rows import TABLE, read, write
from tests.benchmarks.table.summary import summary

STUDY = "tests/benchmarks/table/space.toml"


@dataclass
class Making:
    """A table in the making: what is kept, and the processes that add to it."""

    setup: Setup
    kept: Kept
    pool: concurrent.futures.Executor
    params: dict[int, Params] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def make(self, blocks: int) -> None:
        """Do the runs that are missing."""
        plan = training.plan_of(self.setup)
        self.params[0] = dict(plan.baselines[order.BASELINES[0]])
        known = [run["params"] for run in self.kept.runs if run["number"] == 1]
        self.params[1] = known[0] if known else training.recipe(self.setup)
        baselines = range(len(order.BASELINES))
        self.do([*order.firsts(baselines), *(j for n in baselines for j in order.again(n, 2))])
        for block in range(blocks):
            self.params |= order.draw_block(plan, block, ranked(self.kept.runs, order.numbers(block).start))
            self.do(order.firsts(order.numbers(block)))
            mine = [r for r in ranked(self.kept.runs) if r.number in order.numbers(block)]
            self.do([j for n in order.second_seeds(mine) for j in order.again(n, 2)])
        self.do(order.last_seeds(ranked(self.kept.runs)))

    def do(self, jobs: Sequence[Job]) -> None:
        """Do those of these runs that are missing, several at once."""
        missing = [job for job in dict.fromkeys(jobs) if not self.kept.has(job)]
        waiting = {self.pool.submit(training.run, self.setup, job, self.params[job.number]) for job in missing}
        for future in concurrent.futures.as_completed(waiting):
            found = future.result()
            self.kept.add(found)
            bpb = found.get("failed") or f"{found['bpb'][-1]:.4f} BPB, {found['steps'][-1]} steps"
            what = f"{found['number']:>3} {found['kind']} seed {found['seed']}: {bpb}, {found['cpu_seconds']} s"
            minutes = (time.monotonic() - self.began) / 60
            print(f"{len(self.kept.runs)} runs, {minutes:.1f} min: {what}", file=sys.stderr, flush=True)


def ranked(runs: Sequence[dict[str, Any]], below: float = math.inf) -> list[order.Ranked]:
    """Return the configurations below a number that have a long run and a proxy, by what the first of each came to."""

    def value(run: dict[str, Any]) -> float:
        return math.inf if "failed" in run else float(run["bpb"][-1])

    def firsts(kind: str) -> dict[int, dict[str, Any]]:
        there = sorted((r for r in runs if r["kind"] == kind and r["number"] < below), key=lambda r: -int(r["seed"]))
        return {int(r["number"]): r for r in there}

    long, proxies = firsts(LONG), firsts(WHOLE)
    both = sorted(long.keys() & proxies.keys())
    return [order.Ranked(n, long[n]["params"], value(long[n]), value(proxies[n])) for n in both]


def pack(setup: Setup, kept: Kept, path: Path) -> None:
    """Write what is there into the repository; the text is named by its content, not by where it lies here."""
    plan = training.plan_of(setup)
    head = {
        "setup": asdict(setup) | {"text": Path(setup.text).name},
        "text_sha256": text_sha256(plan.data, CACHE),
        "study": Path(setup.study).read_text(),
        "torch": torch.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),
    }
    write(path, head, kept.runs)
    print(f"{path}: {len(kept.runs)} runs, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


def main() -> None:
    """Make the table, or pack it."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--text", help=".txt, .jsonl or .parquet of lines")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each on one thread")
    parser.add_argument("--blocks", type=int, default=6, help=f"of {order.BLOCK} configurations each")
    parser.add_argument("--long", type=float, default=5.0, help="counted seconds of a long run")
    parser.add_argument("--flops-rate", type=float, default=1.5e11, help="operations in a counted second")
    parser.add_argument("--launch-seconds", type=float, default=6e-3, help="counted cost of a step beside them")
    parser.add_argument(
        "--keep", type=Path, default=Path(tempfile.gettempdir()) / "lilm-table.jsonl", help="finished runs"
    )
    parser.add_argument("--table", type=Path, default=TABLE, help="the packed table")
    parser.add_argument("--pack", action="store_true", help="train nothing, pack what is in --keep into --table")
    parser.add_argument("--show", action="store_true", help="train nothing, say what is in --table")
    options = parser.parse_args()
    if options.show:
        return print(summary(read(options.table)))
    if options.text is None:
        parser.error("--text is missing: the text to train on, such as ../shared/data/text/babylm_mix.parquet")
    setup = Setup(
        study=STUDY,
        text=options.text,
        long_seconds=options.long,
        device="cpu",
        flops_rate=options.flops_rate,
        launch_seconds=options.launch_seconds,
        draw=0,
    )
    if options.pack:
        pack(setup, Kept(options.keep, setup), options.table)
        return print(summary(read(options.table)))
    plan = training.plan_of(setup)
    for size in plan.space.parameters["vocab_size"].values() or ():
        prepare(plan.data, replace(plan.tokenizer, vocab_size=int(size)), CACHE)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.jobs, context) as pool:
        Making(setup, Kept(options.keep, setup), pool).make(options.blocks)
    return None


if __name__ == "__main__":
    main()
