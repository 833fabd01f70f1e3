"""The table as it is kept, JSON lines, compressed, the first of them what all runs have in common; and how it is read.

Nothing of the project is imported here: `tests.benchmarks.search` reads the table for other commits' code too.
"""

import itertools
import json
import lzma
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

TABLE = Path(__file__).parent / "runs.jsonl.xz"
PERCENTS = tuple(range(5, 101, 5))
"""Where all runs report."""

Params = Mapping[str, Any]
Run = Mapping[str, Any]


@dataclass(frozen=True)
class Curve:
    """A run's reports at `PERCENTS`; fewer where it failed at the next."""

    seed: int
    bpb: tuple[float, ...]
    train_bpb: tuple[float | None, ...]
    steps: tuple[int, ...]
    failed: bool

    @property
    def final(self) -> float:
        """BPB at the end; infinite where there is none."""
        return math.inf if self.failed else self.bpb[-1]

    @classmethod
    def of(cls, run: Run) -> "Curve":
        """Return a run's curve."""
        bpb, train_bpb, steps = (tuple(run[key]) for key in ("bpb", "train_bpb", "steps"))
        return cls(int(run["seed"]), bpb, train_bpb, steps, failed="failed" in run)


@dataclass(frozen=True)
class Row:
    """One configuration: its proxy, and its long runs by seed."""

    number: int
    params: Params
    proxy: Curve
    long: tuple[Curve, ...]
    n_params: int
    """Parameters of the network; 0 where every run failed."""

    @cached_property
    def mean(self) -> float:
        """Mean BPB of the long runs; infinite where one failed."""
        return float(np.mean([curve.final for curve in self.long]))

    @cached_property
    def residuals(self) -> tuple[float, ...]:
        """By what its long runs differ from their mean, widened since that mean is of few; none of a single run.

        Of n runs each differs from their mean by √((n − 1) / n) of what it differs from the true one by.
        """
        n = len(self.long)
        if n < 2 or not math.isfinite(self.mean):
            return ()
        return tuple((curve.final - self.mean) * math.sqrt(n / (n - 1)) for curve in self.long)


@dataclass(frozen=True)
class Table:
    """All rows, in the order of their numbers, the baselines first."""

    rows: tuple[Row, ...]
    study: str
    """The study file, whose space it is and whose baselines come first."""
    long_seconds: float
    """Counted seconds of a long run."""
    facts: Mapping[str, Any]
    """What the file says of text, versions and hardware."""

    @cached_property
    def worst(self) -> float:
        """The worst mean of a configuration whose runs all came to their end."""
        return max(row.mean for row in self.rows if math.isfinite(row.mean))

    def truth(self, row: Row) -> float:
        """Return what exporting a configuration is worth: its mean; as bad as the worst where a long run failed."""
        return min(row.mean, self.worst)

    @cached_property
    def ranking(self) -> list[Row]:
        """The rows, the best first."""
        return sorted(self.rows, key=lambda row: (row.mean, row.number))

    @property
    def noise(self) -> float:
        """Standard deviation of BPB from seed to seed, pooled; NaN where no configuration has two seeds.

        √(Σ squared deviations from each mean / Σ (n − 1)).
        """
        groups = [[c.final for c in row.long] for row in self.rows if len(row.long) > 1 and math.isfinite(row.mean)]
        squares = sum(float(np.var(group)) * len(group) for group in groups)
        return math.sqrt(squares / degrees) if (degrees := sum(len(g) - 1 for g in groups)) else math.nan


def read(path: Path = TABLE) -> Table:
    """Return the table in a file; configurations whose long run or proxy is missing are left out."""
    head, *runs = [json.loads(line) for line in lzma.decompress(path.read_bytes()).splitlines()]
    rows = []
    for number, group in itertools.groupby(runs, key=lambda r: int(r["number"])):
        mine = list(group)
        long = tuple(Curve.of(r) for r in mine if r["kind"] == "long")
        proxies = [Curve.of(r) for r in mine if r["kind"] == "whole"]
        if long and proxies:
            n_params = max(int(r.get("n_params", 0)) for r in mine)
            rows.append(Row(number, mine[0]["params"], proxies[0], long, n_params))
    return Table(tuple(rows), head["study"], float(head["setup"]["long_seconds"]), head)


def write(path: Path, head: Mapping[str, Any], runs: Sequence[Run]) -> None:
    """Write a table: what all runs have in common, then the runs by number, kind and seed, each once."""
    distinct = {(r["number"], r["kind"], r["seed"]): r for r in runs}
    order = [distinct[key] for key in sorted(distinct)]
    lines = (json.dumps(line, separators=(",", ":")) + "\n" for line in (head, *order))
    path.write_bytes(lzma.compress("".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME))
