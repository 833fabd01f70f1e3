"""The figure of what every worker did: a row each, a bar for each trial."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from search.analysis.snapshot import Snapshot
from search.analysis.worker_timeline import TrialSpan, WorkerSpan, first_start, hours_unit, trial_spans, worker_spans
from search.show.figures.style import BASELINE, BEST, FOUND, PRUNED, empty
from search.show.wording import counted
from search.study.trials import run_label

MOST_WORKERS, MOST_BARS = 40, 1500
MOST_EDGES = 60
"""Bars of a worker that are still wide enough for an edge."""
LOOKS = {
    "proxy, finished": (FOUND, ""),
    "proxy, pruned": (PRUNED, "/"),
    "proxy, running": ("#56B4E9", "-"),
    "confirmation": (BEST, "."),
    "failed or lost": (BASELINE, "x"),
}


def draw_workers(facts: Snapshot) -> Any:
    """Return what every worker did over time; of very many the busiest."""
    did = trial_spans(facts)
    if not did:
        return None
    busiest = {w for w, _ in Counter(s.worker for s in did).most_common(MOST_WORKERS)}
    did = [s for s in did if s.worker in busiest][-MOST_BARS:]
    order = list(dict.fromkeys(s.worker for s in did))
    were = [w for w in worker_spans(facts) if w.worker in set(order)]
    first = first_start(did, were)
    unit, seconds = hours_unit(max(s.end for s in did) - first)
    drawn = empty(f"{unit} since the first worker started", "", height=130 + 34 * len(order))
    pale = {"color": "rgba(128,128,128,0.15)", "line": {"width": 0}}
    drawn.add_bar(**_bars(were, first, seconds), width=0.9, name="present", marker=pale, hoverinfo="skip")
    edge = 1 if len(did) <= MOST_EDGES * len(order) else 0
    for kind, (colour, pattern) in LOOKS.items():
        part = [s for s in did if s.kind == kind]
        if part:
            look = {"color": colour, "pattern": _strokes(pattern), "line": {"width": edge, "color": "#ffffff"}}
            labels = [run_label(s.proxy, s.trial.number) for s in part]
            drawn.add_bar(**_bars(part, first, seconds), width=0.6, name=kind, marker=look, hovertext=labels)
    drawn.update_traces(hovertemplate="%{hovertext}<extra></extra>", selector={"width": 0.6})
    drawn.update_layout(barmode="overlay")
    drawn.update_yaxes(categoryorder="array", categoryarray=list(reversed(order)))
    return drawn


def _bars(parts: Sequence[TrialSpan] | Sequence[WorkerSpan], first: float, unit: float) -> dict[str, Any]:
    """Return plotly's bars from each start to its end."""
    return {
        "y": [p.worker for p in parts],
        "base": [round((p.start - first) / unit, 4) for p in parts],
        "x": [round((p.end - p.start) / unit, 4) for p in parts],
        "orientation": "h",
    }


def _strokes(shape: str) -> dict[str, Any]:
    """Return white strokes over the bar's colour."""
    return {"shape": shape, "fillmode": "overlay", "fgcolor": "#ffffff", "fgopacity": 0.6, "size": 7, "solidity": 0.2}


def say_workers(facts: Snapshot) -> str:
    """Return how many workers there were and how busy they were."""
    did, were = trial_spans(facts), worker_spans(facts)
    workers = {s.worker for s in did} | {w.worker for w in were}
    if not workers:
        return ""
    devices = sorted({e.device for e in facts.workers})
    said = counted(len(workers), "worker") + (f" on {devices[0]}" if len(devices) == 1 else "")
    paid = sum(w.end - w.start for w in were)
    known = {w.worker for w in were}
    busy = sum(s.end - s.start for s in did if s.worker in known)
    said += f", at work on trials for {min(1.0, busy / paid):.0%} of their time." if paid else "."
    if len(workers) > MOST_WORKERS or len(did) > MOST_BARS:
        said += f" Drawn are the {MOST_WORKERS} busiest, with their last {MOST_BARS} trials at most."
    return said
