"""What a study cost and for what, as numbers and as a figure over time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.analysis.snapshot import Snapshot
from search.analysis.worker_timeline import TrialSpan, WorkerSpan, first_start, hours_unit, trial_spans, worker_spans
from search.show.figures.style import FOUND, empty

POINTS = 160
KINDS = (
    ("proxies, training", FOUND, ""),
    ("confirmation runs, training", "#009E73", "/"),
    ("start-up, compilation, evaluation", "#E69F00", "."),
    ("lost, failed or idle", "#7F7F7F", "x"),
)
"""What time is spent on, with a colour and a pattern."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Worker hours by what they were spent on, in the order of `KINDS`, and the same in dollars."""

    hours: tuple[float, ...]
    usd: tuple[float, ...]

    @property
    def total_hours(self) -> float:
        """Of all workers, idle or not."""
        return sum(self.hours)

    @property
    def total_usd(self) -> float:
        """Of all workers, idle or not."""
        return sum(self.usd)


def costs(facts: Snapshot) -> Costs:
    """Return what the whole study has cost until now."""
    did, were = trial_spans(facts), worker_spans(facts)
    hours = _until(did, were, np.inf, lambda s: 1.0)
    usd = _until(did, were, np.inf, lambda s: s.usd_per_hour)
    return Costs(hours=tuple(float(v) for v in hours), usd=tuple(float(v) for v in usd))


def _until(did: Sequence[TrialSpan], were: Sequence[WorkerSpan], t: Any, price: Callable[[Any], float]) -> list[Any]:
    """Return hours × price of each kind up to the moments t."""

    def sum_of(parts: Sequence[tuple[Any, float]]) -> Any:
        """Sum seconds spread evenly over each part's span."""
        total = np.zeros_like(np.asarray(t, dtype=float))
        for part, seconds in parts:
            length = part.end - part.start
            share = np.clip((t - part.start) / length, 0, 1) if length > 0 else (np.asarray(t) >= part.end)
            total = total + share * seconds / 3600 * price(part)
        return total

    good = [s for s in did if s.kind != "failed or lost"]
    known = {w.worker for w in were}
    unknown = [s for s in did if s.worker not in known]  # who never entered the registry was there for its trials
    paid = sum_of([(w, w.end - w.start) for w in were]) + sum_of([(s, s.end - s.start) for s in unknown])
    proxies = sum_of([(s, s.trained) for s in good if s.proxy])
    runs = sum_of([(s, s.trained) for s in good if not s.proxy])
    around = sum_of([(s, s.end - s.start - s.trained) for s in good])
    return [proxies, runs, around, np.maximum(0.0, paid - proxies - runs - around)]


def draw_dollars(facts: Snapshot) -> Any:
    """Return the cost so far over time, by what it was spent on; hours of workers where they are free."""
    did, were = trial_spans(facts), worker_spans(facts)
    if not did and not were:
        return None
    start = first_start(did, were)
    end = max([s.end for s in did] + [w.end for w in were])
    if end <= start:
        return None
    unit, seconds = hours_unit(end - start)
    priced = costs(facts).total_usd > 0
    moments = np.linspace(start, end, POINTS)
    parts = _until(did, were, moments, (lambda s: s.usd_per_hour) if priced else (lambda s: 1.0))
    drawn = empty(f"{unit} since the first worker started", "dollars so far" if priced else "worker hours so far")
    for (name, colour, pattern), values in zip(KINDS, parts, strict=True):
        drawn.add_scatter(
            x=((moments - start) / seconds).round(3).tolist(),
            y=values.round(5).tolist(),
            name=name,
            mode="lines",
            stackgroup="all",
            line={"color": colour, "width": 1},
            fillpattern={"shape": pattern, "fgcolor": colour, "bgcolor": _pale(colour)} if pattern else None,
            hovertemplate="%{y:.3f}",
        )
    drawn.update_layout(hovermode="x unified")
    return drawn


def _pale(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.35)"


def say_dollars(facts: Snapshot) -> str:
    """Return the total, and the share of each kind."""
    found = costs(facts)
    values, total = (found.usd, found.total_usd) if found.total_usd > 0 else (found.hours, found.total_hours)
    if not total:
        return ""
    parts = [f"{name} {value / total:.0%}" for (name, _, _), value in zip(KINDS, values, strict=True)]
    return f"By what it was spent on: {'; '.join(parts)}."
