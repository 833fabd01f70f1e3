"""The figure of the workers' time: a row for each worker, a bar for each trial."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from search.analysis.snapshot import Snapshot
from search.analysis.worker_timeline import TrialSpan, WorkerSpan, first_start, hours_unit, trial_spans, worker_spans
from search.show.figures.style import BASELINE, BEST, PRUNED, SEARCHED, empty_figure
from search.show.wording import counted
from search.study.trials import run_label

MOST_WORKERS, MOST_BARS = 40, 1500
MOST_EDGES = 60
"""Most bars per worker that are drawn with an edge: more are too narrow for it."""
KIND_STYLES = {
    "proxy, finished": (SEARCHED, ""),
    "proxy, pruned": (PRUNED, "/"),
    "proxy, running": ("#56B4E9", "-"),
    "confirmation": (BEST, "."),
    "failed or lost": (BASELINE, "x"),
}


def draw_workers(snapshot: Snapshot) -> Any:
    """Return the figure of the workers' trials over time; of very many workers, the busiest."""
    spans = trial_spans(snapshot)
    if not spans:
        return None
    busiest = {w for w, _ in Counter(s.worker for s in spans).most_common(MOST_WORKERS)}
    spans = [s for s in spans if s.worker in busiest][-MOST_BARS:]
    order = list(dict.fromkeys(s.worker for s in spans))
    times_present = [w for w in worker_spans(snapshot) if w.worker in set(order)]
    first = first_start(spans, times_present)
    unit, seconds = hours_unit(max(s.end for s in spans) - first)
    figure = empty_figure(f"{unit} since the first worker started", "", height=130 + 34 * len(order))
    pale = {"color": "rgba(128,128,128,0.15)", "line": {"width": 0}}
    figure.add_bar(**_bars(times_present, first, seconds), width=0.9, name="present", marker=pale, hoverinfo="skip")
    edge = 1 if len(spans) <= MOST_EDGES * len(order) else 0
    for kind, (colour, pattern) in KIND_STYLES.items():
        drawn_spans = [s for s in spans if s.kind == kind]
        if drawn_spans:
            look = {"color": colour, "pattern": _pattern(pattern), "line": {"width": edge, "color": "#ffffff"}}
            labels = [run_label(s.proxy, s.trial.number) for s in drawn_spans]
            figure.add_bar(**_bars(drawn_spans, first, seconds), width=0.6, name=kind, marker=look, hovertext=labels)
    figure.update_traces(hovertemplate="%{hovertext}<extra></extra>", selector={"width": 0.6})
    figure.update_layout(barmode="overlay")
    figure.update_yaxes(categoryorder="array", categoryarray=list(reversed(order)))
    return figure


def _bars(parts: Sequence[TrialSpan] | Sequence[WorkerSpan], first: float, unit: float) -> dict[str, Any]:
    """Return plotly's bars, each from a start to its end."""
    return {
        "y": [p.worker for p in parts],
        "base": [round((p.start - first) / unit, 4) for p in parts],
        "x": [round((p.end - p.start) / unit, 4) for p in parts],
        "orientation": "h",
    }


def _pattern(shape: str) -> dict[str, Any]:
    """Return plotly's pattern of white strokes over the bar's colour."""
    return {"shape": shape, "fillmode": "overlay", "fgcolor": "#ffffff", "fgopacity": 0.6, "size": 7, "solidity": 0.2}


def describe_workers(snapshot: Snapshot) -> str:
    """Return the number of workers, and the share of their time in which they trained."""
    spans, times_present = trial_spans(snapshot), worker_spans(snapshot)
    workers = {s.worker for s in spans} | {w.worker for w in times_present}
    if not workers:
        return ""
    devices = sorted({e.device for e in snapshot.workers})
    text = counted(len(workers), "worker") + (f" on {devices[0]}" if len(devices) == 1 else "")
    paid = sum(w.end - w.start for w in times_present)
    registered = {w.worker for w in times_present}
    busy = sum(s.end - s.start for s in spans if s.worker in registered)
    text += f", at work on trials for {min(1.0, busy / paid):.0%} of their time." if paid else "."
    if len(workers) > MOST_WORKERS or len(spans) > MOST_BARS:
        text += f" Drawn are the {MOST_WORKERS} busiest, with their last {MOST_BARS} trials at most."
    return text
