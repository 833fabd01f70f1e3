"""All replays that were asked for, several at once, kept as they end."""

import concurrent.futures
import json
import multiprocessing
import sys
import time
import tomllib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch

from tests.benchmarks.search.answers import Answers, Scale
from tests.benchmarks.search.arms import ARMS
from tests.benchmarks.search.figures import Replay
from tests.benchmarks.search.trainer import LONG_SECONDS
from tests.benchmarks.table.rows import Table


@dataclass(frozen=True)
class Task:
    """One search to replay."""

    arm: str
    budget: float
    workers: int
    replay: int


def replay(table: Table, task: Task, label: str) -> Replay:
    """Replay one search; `label` is what its arm is called in the figures."""
    answers = Answers(table, Scale(tomllib.loads(table.study)["space"]), task.replay)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Optuna's experiments
        found = ARMS[task.arm](answers, task.budget, task.workers)
    return Replay.of(table, (label, task.budget, task.workers, task.replay), found, LONG_SECONDS)


def kept(path: Path | None) -> list[Replay]:
    """Return the replays in a file of JSON lines."""
    if path is None or not path.exists():
        return []
    return [Replay(**json.loads(line)) for line in path.read_text().splitlines()]


def run_all(table: Table, tasks: Sequence[Task], label: str, jobs: int, out: Path | None) -> list[Replay]:
    """Replay what isn't in the file yet; returns all that is there then. `label` stands for "ours"."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    replays = kept(out)
    there = {(r.arm, r.budget, r.workers, r.replay) for r in replays}
    names = {name: label if name == "ours" else name for name in ARMS}
    missing = [t for t in tasks if (names[t.arm], t.budget, t.workers, t.replay) not in there]
    began = time.monotonic()
    # Forked, not spawned: a child must have the modules of the tree that its parent chose.
    with concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        waiting = [pool.submit(replay, table, task, names[task.arm]) for task in missing]
        for done, future in enumerate(concurrent.futures.as_completed(waiting), 1):
            if error := future.exception():
                pool.shutdown(cancel_futures=True)
                raise error
            replays.append(future.result())
            if out is not None:
                with out.open("a") as file:
                    file.write(json.dumps(replays[-1].line()) + "\n")
            if done % 100 == 0 or done == len(missing):
                print(f"{done}/{len(missing)} replays, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return replays
