"""How often long runs come out within the 90% interval that a study predicted, in whole searches on the table.

python -m tests.benchmarks.search.predictions --replays 50 --budgets 10 20 --out predictions.jsonl

Each prediction is compared with the candidate's first long run of the same replay, whether the race came to start it or
not; a run that diverges is outside every interval.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import tomllib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch

from search.strategy.entrants import entrant_of
from search.study.predictions import PREDICTIONS, Prediction, stored_predictions
from search.study.trials import label
from tests.benchmarks.search import ours
from tests.benchmarks.search.answers import Answers, Scale
from tests.benchmarks.search.figures import share_text
from tests.benchmarks.search.memory import TableStorage
from tests.benchmarks.table.rows import Row, Table, read

GROUPS = ((3, 4), (5, 7), (8, 12), (13, 10**6))
"""Numbers of long runs known when something was predicted, from and to."""


class Record(TableStorage):
    """A study's storage that keeps everything that was predicted."""

    def __init__(self, answers: Answers) -> None:
        super().__init__(answers)
        self.predicted: dict[tuple[str, int], Prediction] = {}
        """The predictions by candidate and by the number of long runs known."""

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attribute."""
        if key == PREDICTIONS:
            for candidate, prediction in stored_predictions({key: value}).by_candidate.items():
                self.predicted[candidate, prediction.long_runs] = prediction
        super().set_study_user_attr(study_id, key, value)


@dataclass(frozen=True)
class Outcome:
    """One prediction of one replay, and the run that it was of."""

    replay: int
    budget: float
    workers: int
    known: int
    """Long runs known."""
    raced: bool
    """Whether the study came to start that run."""
    bpb: float
    half_width: float
    result: float

    @property
    def holds(self) -> bool:
        """Whether the run lies within the interval."""
        return abs(self.result - self.bpb) <= self.half_width


def replay(table: Table, budget: float, workers: int, number: int) -> list[Outcome]:
    """Replay one search; returns all that it predicted."""
    answers = Answers(table, Scale(tomllib.loads(table.study)["space"]), number)
    record = Record(answers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Optuna's experiments
        ours.search(answers, budget, workers, record)
    rows, raced = _rows(record)
    results = {key: answers.long(row, 0).final for key, row in rows.items()}
    return [
        Outcome(number, budget, workers, known, key in raced, p.bpb, p.half_width, results[key])
        for (key, known), p in record.predicted.items()
    ]


def _rows(record: Record) -> tuple[dict[str, Row], set[str]]:
    """Return the table's rows by candidate, and the candidates that had long runs."""
    proxies, runs = (record.get_all_trials(record.get_study_id_from_name(n)) for n in ("replay", "replay-confirm"))
    rows = {label(None, t.number, 1.0): record.answers.row(t.params) for t in proxies if t.params}
    entrants = [entrant_of(run) for run in runs]
    return rows | {e.key: record.answers.table.rows[0] for e in entrants if e.baseline}, {e.key for e in entrants}


def report(outcomes: Sequence[Outcome]) -> str:
    """Return the coverage as Markdown, by the number of long runs known."""
    lines = [
        "| long runs known | predictions | within their 90% interval | of candidates that raced | half width | error |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for low, high in (*GROUPS, (GROUPS[0][0], GROUPS[-1][1])):
        some = [o for o in outcomes if low <= o.known <= high]
        if not some:
            continue
        raced = [o.holds for o in some if o.raced]
        error = np.median([abs(o.result - o.bpb) for o in some])
        name = f"{low} to {high}" if high < GROUPS[-1][1] else f"{low} or more"
        lines.append(
            f"| {name} | {len(some)} | {share_text([o.holds for o in some])} "
            f"| {share_text(raced) + f' of {len(raced)}' if raced else '–'} "
            f"| {np.median([o.half_width for o in some]):.3f} | {error:.3f} |"
        )
    return "\n".join(lines)


def kept(path: Path | None) -> Iterator[Outcome]:
    """Yield what is in a file of JSON lines."""
    for line in path.read_text().splitlines() if path and path.exists() else []:
        yield Outcome(**json.loads(line))


def main() -> None:
    """Replay, and print the coverage."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.search.predictions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--budgets", type=float, nargs="*", default=[10, 20], help="money, in long runs")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--replays", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=1, help="replays at once")
    parser.add_argument("--out", type=Path, help="outcomes, as JSON lines; replays that are there aren't run again")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    table, outcomes = read(), list(kept(options.out))
    there = {(o.budget, o.workers, o.replay) for o in outcomes}
    tasks = [(b, w, n) for n in range(options.replays) for w in options.workers for b in options.budgets]
    with concurrent.futures.ProcessPoolExecutor(options.jobs, multiprocessing.get_context("fork")) as pool:
        waiting = [pool.submit(replay, table, *task) for task in tasks if task not in there]
        for future in concurrent.futures.as_completed(waiting):
            outcomes += future.result()
            if options.out:
                with options.out.open("a") as file:
                    file.writelines(json.dumps(asdict(o)) + "\n" for o in future.result())
    print(report(outcomes))


if __name__ == "__main__":
    main()
