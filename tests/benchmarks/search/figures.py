"""What replays came to, in figures: regret with its interval, and how often the export was bad or among the best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from tests.benchmarks.search.ours import Found
from tests.benchmarks.table.rows import Table

BEST = 3


@dataclass(frozen=True)
class Replay:
    """One search of one arm, with what its export is truly worth."""

    arm: str
    budget: float
    """Money, in long runs."""
    workers: int
    replay: int
    export: int
    """Number of the configuration; -1 where nothing was exported, which counts as the worst there is."""
    regret: float
    """True BPB of the export − that of the table's best."""
    worse: bool
    """Whether the export is truly worse than the baseline by hand."""
    best: bool
    """Whether it is one of the table's best three."""
    spent: float
    """Money, in long runs."""
    short: int
    long: int
    ranking: Sequence[Mapping[str, Any]] = ()
    """Fields of each `Entrant` that the export was chosen among, if it is ours."""

    @classmethod
    def of(cls, table: Table, search: tuple[str, float, int, int], found: Found, long_seconds: float) -> "Replay":
        """Judge what a search found: its arm, budget, workers and replay, and the seconds of a long run there."""
        export, ranking = found.export, table.ranking
        truth = table.worst if export is None else table.truth(export)
        return cls(
            *search,
            export=-1 if export is None else export.number,
            regret=truth - table.truth(ranking[0]),
            worse=truth > table.truth(table.rows[0]),
            best=export is not None and export in ranking[:BEST],
            spent=round(found.seconds / long_seconds, 3),
            short=found.short,
            long=found.long,
            ranking=tuple(asdict(entrant) for entrant in found.ranking),
        )

    def line(self) -> Mapping[str, Any]:
        """Return it as it is kept."""
        return asdict(self)


def mean_text(values: Sequence[float], digits: int = 4) -> str:
    """Return a mean ± half of its 95% interval, by Student's t; without one where there is a single value."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return f"{mean:.{digits}f}"
    half = float(stats.t.ppf(0.975, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def share_text(flags: Sequence[bool]) -> str:
    """Return a share in percent with Wilson's 95% interval (JASA 22, 1927)."""
    n, share, z = len(flags), float(np.mean(flags)), 1.959964
    middle, spread = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((middle + sign * spread) / (1 + z**2 / n) for sign in (-1, 1))
    return f"{share:.0%} ({max(0.0, low):.0%} … {min(1.0, high):.0%})"


def report(replays: Sequence[Replay], reference: str) -> str:
    """Return a table for each number of workers and budget; differences are of the same replays' noise."""
    parts = []
    for workers, budget in sorted({(r.workers, r.budget) for r in replays}):
        here = [r for r in replays if (r.workers, r.budget) == (workers, budget)]
        arms = {name: [r for r in here if r.arm == name] for name in dict.fromkeys(r.arm for r in here)}
        known = {r.replay: r.regret for r in arms.get(reference, [])}
        parts.append("\n".join([f"{workers} workers, money for {budget:g} long runs", "", *_lines(arms, known)]))
    return "\n\n".join(parts)


def _lines(arms: Mapping[str, Sequence[Replay]], known: Mapping[int, float]) -> list[str]:
    lines = [
        "| arm | n | regret | regret − reference's | worse than baseline | one of the best 3 | spent | short | long |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for arm, mine in sorted(arms.items(), key=lambda item: float(np.mean([r.regret for r in item[1]]))):
        apart = [r.regret - known[r.replay] for r in mine if r.replay in known]
        figures = (
            mean_text([r.regret for r in mine]),
            mean_text(apart) if apart else "–",
            share_text([r.worse for r in mine]),
            share_text([r.best for r in mine]),
            *(f"{np.mean([getattr(r, key) for r in mine]):.1f}" for key in ("spent", "short", "long")),
        )
        lines.append(f"| {arm} | {len(mine)} | " + " | ".join(figures) + " |")
    return lines
