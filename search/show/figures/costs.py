"""A study's cost by what it was spent on, as numbers and as a figure over time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.analysis.snapshot import Snapshot
from search.analysis.worker_timeline import TrialSpan, WorkerSpan, first_start, hours_unit, trial_spans, worker_spans
from search.show.figures.style import SEARCHED, empty_figure

POINTS = 160
"""Points in time of the figure."""
KINDS = (
    ("proxies, training", SEARCHED, ""),
    ("confirmation runs, training", "#009E73", "/"),
    ("start-up, compilation, evaluation", "#E69F00", "."),
    ("lost, failed or idle", "#7F7F7F", "x"),
)
"""Kinds of spending, each with a colour and a pattern."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Worker hours and dollars by kind of spending, in the order of `KINDS`."""

    hours: tuple[float, ...]
    usd: tuple[float, ...]

    @property
    def total_hours(self) -> float:
        """Hours of all workers, idle or not."""
        return sum(self.hours)

    @property
    def total_usd(self) -> float:
        """Dollars of all workers, idle or not."""
        return sum(self.usd)


def costs(snapshot: Snapshot) -> Costs:
    """Return the study's cost so far."""
    spans, times_present = trial_spans(snapshot), worker_spans(snapshot)
    hours = _cost_until(spans, times_present, np.inf, lambda s: 1.0)
    usd = _cost_until(spans, times_present, np.inf, lambda s: s.usd_per_hour)
    return Costs(hours=tuple(float(v) for v in hours), usd=tuple(float(v) for v in usd))


def _cost_until(
    spans: Sequence[TrialSpan], times_present: Sequence[WorkerSpan], t: Any, price: Callable[[Any], float]
) -> list[Any]:
    """Return hours × price of each kind up to the times `t`, in seconds since 1970."""

    def sum_of(parts: Sequence[tuple[Any, float]]) -> Any:
        """Return the sum up to `t` of the parts' seconds, which are spread evenly over each part's time."""
        total = np.zeros_like(np.asarray(t, dtype=float))
        for part, seconds in parts:
            length = part.end - part.start
            share = np.clip((t - part.start) / length, 0, 1) if length > 0 else (np.asarray(t) >= part.end)
            total = total + share * seconds / 3600 * price(part)
        return total

    useful = [s for s in spans if s.kind != "failed or lost"]
    registered = {w.worker for w in times_present}
    unregistered = [s for s in spans if s.worker not in registered]  # counted for their trials alone
    paid = sum_of([(w, w.end - w.start) for w in times_present]) + sum_of([(s, s.end - s.start) for s in unregistered])
    proxies = sum_of([(s, s.trained) for s in useful if s.proxy])
    runs = sum_of([(s, s.trained) for s in useful if not s.proxy])
    overhead = sum_of([(s, s.end - s.start - s.trained) for s in useful])
    return [proxies, runs, overhead, np.maximum(0.0, paid - proxies - runs - overhead)]


def draw_dollars(snapshot: Snapshot) -> Any:
    """Return the figure of the cost over time by kind, in dollars, or in worker hours if workers have no price."""
    spans, times_present = trial_spans(snapshot), worker_spans(snapshot)
    if not spans and not times_present:
        return None
    start = first_start(spans, times_present)
    end = max([s.end for s in spans] + [w.end for w in times_present])
    if end <= start:
        return None
    unit, seconds = hours_unit(end - start)
    priced = costs(snapshot).total_usd > 0
    moments = np.linspace(start, end, POINTS)
    parts = _cost_until(spans, times_present, moments, (lambda s: s.usd_per_hour) if priced else (lambda s: 1.0))
    figure = empty_figure(
        f"{unit} since the first worker started", "dollars so far" if priced else "worker hours so far"
    )
    for (name, colour, pattern), values in zip(KINDS, parts, strict=True):
        figure.add_scatter(
            x=((moments - start) / seconds).round(3).tolist(),
            y=values.round(5).tolist(),
            name=name,
            mode="lines",
            stackgroup="all",
            line={"color": colour, "width": 1},
            fillpattern={"shape": pattern, "fgcolor": colour, "bgcolor": _pale(colour)} if pattern else None,
            hovertemplate="%{y:.3f}",
        )
    figure.update_layout(hovermode="x unified")
    return figure


def _pale(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.35)"


def describe_dollars(snapshot: Snapshot) -> str:
    """Return the share of each kind of spending."""
    totals = costs(snapshot)
    values, total = (totals.usd, totals.total_usd) if totals.total_usd > 0 else (totals.hours, totals.total_hours)
    if not total:
        return ""
    parts = [f"{name} {value / total:.0%}" for (name, _, _), value in zip(KINDS, values, strict=True)]
    return f"By what it was spent on: {'; '.join(parts)}."
