"""Searches by other programs, in environments of their own, that are asked and told in lines of JSON.

The program reads one object a line and answers some:

    {"start": {"space": …, "baseline": …, "seed": …}}     begin anew
    {"ask": true}                                         answered by {"id", "params", "percent", "previous"}
    {"tell": id, "params": …, "percent": …, "bpb": …}     bpb null where the run diverged

`percent` says how far to train a long run, and `previous` is the id of the run that it goes on from, or null for a new
one. What was drawn becomes the nearest row of the table that is free, as for every arm; the program may take over the
row's values, which it is told, or not.
"""

import contextlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.benchmarks.search.answers import Answers
from tests.benchmarks.search.arms import Purse
from tests.benchmarks.search.ours import Found
from tests.benchmarks.search.simulation import Simulation
from tests.benchmarks.search.trainer import LONG_SECONDS
from tests.benchmarks.table.rows import PERCENTS, Row


class Program:
    """A program in another environment."""

    def __init__(self, command: Sequence[str]) -> None:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._to, self._from = process, process.stdin, process.stdout

    def send(self, line: dict[str, Any]) -> None:
        """Tell it something."""
        self._to.write(json.dumps(line) + "\n")
        self._to.flush()

    def ask(self) -> dict[str, Any]:
        """Ask for a run; raises `RuntimeError` where the program has ended."""
        self.send({"ask": True})
        line = self._from.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(BrokenPipeError):
            self._to.close()
        self._from.close()
        self._process.wait()


@dataclass(frozen=True)
class Reached:
    """A run and how far it was trained."""

    row: Row
    percent: int
    bpb: float | None


@dataclass
class Peer:
    """An arm by another program; its process goes on from one replay to the next.

    Exported is the best of the runs that went furthest, the baseline's among them, which is trained first.
    """

    command: tuple[str, ...]
    program: Program | None = None

    def __call__(self, answers: Answers, long_runs: float, workers: int) -> Found:
        """Search."""
        self.program = self.program or Program(self.command)
        simulation, purse, runs = Simulation(), Purse(long_runs * LONG_SECONDS), dict[str, Reached]()
        baseline = answers.nearest(answers.table.rows[0].params)
        space = {name: dict(entry) for name, entry in answers.scale.entries.items()}
        start = {"space": space, "baseline": dict(baseline.params), "seed": answers.replay}
        self.program.send({"start": start})
        simulation.spawn(partial(self._baseline, answers, baseline, purse, simulation, runs))
        for _ in range(workers):
            simulation.spawn(partial(self._work, answers, purse, simulation, runs))
        simulation.run()
        done = [r for r in runs.values() if r.bpb is not None]
        best = min(done, key=lambda r: (-r.percent, r.bpb), default=None)
        return Found(None if best is None else best.row, purse.spent, 0, len(runs))

    def _baseline(
        self, answers: Answers, row: Row, purse: Purse, simulation: Simulation, runs: dict[str, Reached]
    ) -> None:
        purse.take(LONG_SECONDS)
        simulation.sleep(LONG_SECONDS)
        purse.settle(LONG_SECONDS, LONG_SECONDS)
        runs["the baseline"] = Reached(row, 100, answers.long(row, 0).final)
        simulation.changed()

    def _work(self, answers: Answers, purse: Purse, simulation: Simulation, runs: dict[str, Reached]) -> None:
        """Be a worker, until a run that is asked for can't be paid, or the table is used up."""
        assert self.program is not None
        while len(answers.used) < len(answers.table.rows):
            wanted = self.program.ask()
            before = runs[wanted["previous"]] if wanted["previous"] is not None else None
            seconds = LONG_SECONDS * (wanted["percent"] - (before.percent if before else 0)) / 100
            if not purse.take(seconds):
                return
            row = answers.nearest(wanted["params"]) if before is None else before.row
            simulation.sleep(seconds)
            purse.settle(seconds, seconds)
            curve, at = answers.long(row, 0), PERCENTS.index(wanted["percent"])
            bpb = curve.bpb[at] if at < len(curve.bpb) else None
            runs[wanted["id"]] = Reached(row, wanted["percent"], bpb)
            told = {"tell": wanted["id"], "params": dict(row.params), "percent": wanted["percent"], "bpb": bpb}
            self.program.send(told)
            simulation.changed()
