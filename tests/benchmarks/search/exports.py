"""What stricter rules would export from the long runs of searches that were replayed with money for ten or fewer.

python -m tests.benchmarks.search --arms ours --workers 8 --budgets 5 10 --out search.jsonl
python -m tests.benchmarks.search.exports search.jsonl

By each rule another configuration replaces the baseline by hand only if its mean is lower by more than a margin. The
candidates of a search stay as recorded; what their runs end with is drawn anew, many times, so that a share of a few
percent shows in a hundred searches. Even and odd replays stand apart, too: choose on one half, judge on the other.
"""

import argparse
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from tests.benchmarks.search.answers import Answers, Scale
from tests.benchmarks.search.figures import Replay, mean_text
from tests.benchmarks.search.ours import FEW_LONG_RUNS
from tests.benchmarks.search.replays import kept
from tests.benchmarks.search.trainer import PREFIX_REPEAT
from tests.benchmarks.table.rows import TABLE, Row, Table, read

MARGINS: Mapping[str, Sequence[float]] = {
    "BPB": (0.0, 0.005, 0.01, 0.015, 0.02, 0.03),
    "deviations of the runs' means": (0.1, 0.2, 0.3),
    "noise at a tenth": (0.1, 0.3, 0.5, 0.7),
}
"""Margins that are tried, by what they are counted in; the first is today's rule."""
TENTH = 1
"""Place in a curve of the report at a tenth of a long run, where proxies end."""

Draws = Float[ndarray, " draws"]
PerRow = Float[ndarray, "rows draws"]


@dataclass(frozen=True)
class Decisions:
    """One search, decided many times."""

    replay: int
    gap: Draws
    """BPB by which the best of the drawn configurations is ahead of the baseline; negative if it is behind."""
    lost: Draws
    """True BPB of that configuration − the baseline's: what is lost if it is exported."""
    units: Mapping[str, Draws]
    """What a margin may be counted in, in BPB."""

    def change(self, unit: str, margin: float) -> Draws:
        """Return what each export is worse by than the baseline, in true BPB; 0 where that is kept."""
        return np.where(self.gap > margin * self.units[unit], self.lost, 0.0)


def decided(search: Replay, table: Table, draws: int) -> Decisions:
    """Return a recorded search's decisions, with the noise of its candidates' runs drawn anew."""
    random = np.random.default_rng(search.replay)
    answers = _answers(search, table)
    rows = _candidates(search, table)
    ends, tenths = zip(*(_drawn(row, answers.noise(row), draws, random) for row in rows), strict=True)
    proxies = [_drawn(row, answers.noise(row), draws, random)[1] for row in rows]
    return _decisions(search.replay, rows, np.array(ends), np.array(tenths) - np.array(proxies))


def as_recorded(search: Replay, table: Table) -> Decisions:
    """Return the one decision that a recorded search had to make, by its own runs."""
    answers = _answers(search, table)
    rows = _candidates(search, table)
    runs, proxies = ([answers.long(row, repeat) for row in rows] for repeat in (0, PREFIX_REPEAT))
    ends = np.array([[run.final] for run in runs])
    differences = np.array([[a.bpb[TENTH] - b.bpb[TENTH]] for a, b in zip(runs, proxies, strict=True)])
    return _decisions(search.replay, rows, ends, differences)


def _answers(search: Replay, table: Table) -> Answers:
    return Answers(table, Scale(tomllib.loads(table.study)["space"]), search.replay)


def _candidates(search: Replay, table: Table) -> list[Row]:
    """Return the baseline and the configurations whose long runs came to their end."""
    others = (table.rows[entrant["row"]] for entrant in search.ranking if entrant["row"])
    return [table.rows[0], *(row for row in others if math.isfinite(row.mean))]


def _decisions(replay: int, rows: Sequence[Row], bpb: PerRow, differences: PerRow) -> Decisions:
    """Return the decisions by what runs ended with, and by how far each row's proxy and run were apart at a tenth.

    The noise at a tenth is known without a second long run: a candidate's proxy and its long run are two seeds of the
    same training so far. It is √(mean squared difference / 2) over the candidates.
    """
    draws = bpb.shape[1]
    best = 1 + bpb[1:].argmin(axis=0)
    truth = np.array([row.mean for row in rows])
    units = {
        "BPB": np.ones(draws),
        "deviations of the runs' means": bpb.std(axis=0, ddof=1),
        "noise at a tenth": np.sqrt((differences**2).mean(axis=0) / 2),
    }
    return Decisions(replay, bpb[0] - bpb[best, np.arange(draws)], truth[best] - truth[0], units)


def _drawn(row: Row, noise: Sequence[float], draws: int, random: np.random.Generator) -> tuple[Draws, Draws]:
    """Return what runs of a row end with, and what they have at a tenth, as `Answers.long` makes them."""
    curves = random.integers(len(row.long), size=draws)
    ends = row.mean + random.choice(np.array(noise or [0.0]), draws)
    final, tenth = (np.array([curve.bpb[at] for curve in row.long])[curves] for at in (-1, TENTH))
    return ends, ends + tenth - final


def report(searches: Sequence[Decisions], recorded: Sequence[Decisions]) -> str:
    """Return a table with a line for each rule, of searches decided many times and as they were recorded."""
    today = [search.change("BPB", 0.0) for search in searches]
    odd = np.array([search.replay % 2 == 1 for search in searches])
    groups = (np.ones_like(odd), ~odd, odd)
    lines = [
        "| ahead of the baseline by more than | worse | even replays | odd | added regret | worse as recorded |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for unit, margin in ((unit, margin) for unit, margins in MARGINS.items() for margin in margins):
        changes = [search.change(unit, margin) for search in searches]
        worse = np.array([float((change > 0).mean()) for change in changes])
        added = [float((change - before).mean()) for change, before in zip(changes, today, strict=True)]
        shares = " | ".join(f"{_mean(worse, which):.1%}" for which in groups)
        once = sum(bool((search.change(unit, margin) > 0).any()) for search in recorded)
        lines.append(f"| {margin:g} {unit} | {shares} | {mean_text(added)} | {once} of {len(recorded)} |")
    return "\n".join(lines)


def _mean(values: Float[ndarray, " n"], which: Bool[ndarray, " n"]) -> float:
    return float(values[which].mean()) if which.any() else math.nan


def main() -> None:
    """Print a table for each number of workers and budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("searches", type=Path, help="finished replays, as JSON lines")
    parser.add_argument("--table", type=Path, default=TABLE, help="file of the table")
    parser.add_argument("--draws", type=int, default=1000, help="decisions of each search")
    options = parser.parse_args()
    table = read(options.table)
    few = [r for r in kept(options.searches) if r.budget <= FEW_LONG_RUNS and len(r.ranking) > 1]
    for workers, budget in sorted({(r.workers, r.budget) for r in few}):
        here = [r for r in few if (r.workers, r.budget) == (workers, budget)]
        print(f"{workers} workers, money for {budget:g} long runs, {len(here)} searches\n")
        drawn = [decided(search, table, options.draws) for search in here]
        print(report(drawn, [as_recorded(search, table) for search in here]) + "\n")


if __name__ == "__main__":
    main()
