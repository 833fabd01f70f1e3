"""The figures of the search's course: all proxies in the order of their ends, and the learning curves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search.analysis.snapshot import Snapshot
from search.show.figures.style import BASELINE, BEST, PRUNED, RANDOM, SEARCHED, empty_figure, frame_top, log_axis
from search.study.cost import budget_seconds
from search.study.settings import Fidelity
from search.study.study import known_report_bytes
from search.study.trials import attributes_of, final_budget, finished, run_label

MOST_CURVES = 80
"""Most lines of one kind in a figure: more would only cover one another."""


def ended_proxies(snapshot: Snapshot) -> list[FrozenTrial]:
    """Return the proxies that have ended, in the order of their ends."""
    trials = [t for t in snapshot.proxies if t.state.is_finished()]
    return sorted(trials, key=lambda t: (t.datetime_complete or datetime.min, t.number))


def last_bpb(trial: FrozenTrial) -> float | None:
    """Return a trial's final BPB, or else that of its last report; None if it has neither."""
    reports = [v for _, v in sorted(trial.intermediate_values.items()) if math.isfinite(v)]
    return trial.value if trial.state == TrialState.COMPLETE else reports[-1] if reports else None


def draw_history(snapshot: Snapshot) -> Any:
    """Return the figure of all proxies in the order of their ends, with the best so far."""
    trials = ended_proxies(snapshot)
    done = finished(trials)
    if not done:
        return None
    figure = empty_figure("proxies, in the order of their ends", f"validation BPB after {snapshot.plan.proxy.budget}")
    top = frame_top([t.value or 0.0 for t in done])
    low = min(t.value or 0.0 for t in done)
    margin = 0.06 * (top - low or 0.1)
    place = {t.number: i for i, t in enumerate(trials, start=1)}
    for name, chosen, symbol, colour in _kinds(trials):
        figure.add_scatter(
            x=[place[t.number] for t in chosen],
            y=[min(v, top) if (v := last_bpb(t)) is not None else top + margin for t in chosen],
            name=name,
            mode="markers",
            marker={"symbol": symbol, "color": colour, "size": 8},
            text=[_hover_text(t) for t in chosen],
            hovertemplate="%{text}<extra></extra>",
        )
    best = np.minimum.accumulate([t.value or 0.0 for t in done])
    line = {"color": BEST, "shape": "hv", "width": 2}
    figure.add_scatter(x=[place[t.number] for t in done], y=best.tolist(), name="best so far", mode="lines", line=line)
    figure.update_yaxes(range=[low - margin, top + 2 * margin])
    return figure


def _kinds(trials: Sequence[FrozenTrial]) -> list[tuple[str, list[FrozenTrial], str, str]]:
    def of(state: TrialState, *, baseline: bool = False) -> list[FrozenTrial]:
        return [t for t in trials if t.state == state and (attributes_of(t).baseline is not None) == baseline]

    failed = [t for t in trials if t.state == TrialState.FAIL]
    kinds = [
        ("finished", of(TrialState.COMPLETE), "circle", SEARCHED),
        ("hand-made baseline", of(TrialState.COMPLETE, baseline=True), "diamond", BASELINE),
        ("pruned, at its last report", of(TrialState.PRUNED), "x-thin-open", PRUNED),
        ("failed", failed, "triangle-down-open", RANDOM),
    ]
    return [kind for kind in kinds if kind[1]]


def _hover_text(trial: FrozenTrial) -> str:
    value = last_bpb(trial)
    text = f"trial {trial.number}: {value:.4f} BPB" if value is not None else f"trial {trial.number}"
    if trial.state == TrialState.PRUNED:
        return f"{text}, pruned at {trial.last_step}%"
    return f"{text}, failed: {attributes_of(trial).failure or 'unknown'}" if trial.state == TrialState.FAIL else text


def describe_history(snapshot: Snapshot) -> str:
    """Return how many proxies finished, were pruned or failed, and when the best one was found."""
    trials = ended_proxies(snapshot)
    done = finished(trials)
    if not done:
        return ""
    best = min(done, key=lambda t: t.value or 0.0)
    place = trials.index(best) + 1
    counts = {s: sum(t.state == s for t in trials) for s in (TrialState.PRUNED, TrialState.FAIL)}
    return (
        f"Of {len(trials)} proxies {len(done)} finished, {counts[TrialState.PRUNED]} were pruned and "
        f"{counts[TrialState.FAIL]} failed. The best one, {run_label(True, best.number)} with {best.value:.4f} BPB, "
        f"ended as number {place}."
    )


@dataclass(frozen=True, kw_only=True)
class _CurveGroup:
    """Runs whose learning curves are drawn alike."""

    name: str
    trials: list[FrozenTrial]
    fidelity: Fidelity
    colour: str
    dash: str
    width: float


def draw_curves(snapshot: Snapshot) -> Any:
    """Return the figure of learning curves over training time, those of the winner on top."""
    kinds = [kind for kind in _curve_groups(snapshot) if kind.trials]
    done = (*snapshot.finished, *finished(list(snapshot.runs)))
    if not kinds or not done:
        return None
    unit, seconds = _unit(snapshot)
    figure = empty_figure(f"training time, {unit} (log scale)", "validation BPB")
    for kind in kinds:
        x, y = _lines(thinned_out(kind.trials), kind.fidelity, seconds)
        line = {"color": kind.colour, "dash": kind.dash, "width": kind.width}
        figure.add_scatter(x=x, y=y, name=kind.name, mode="lines", line=line, hoverinfo="skip")
    x = [v for trace in figure.data for v in trace.x if v is not None]
    low = min(v for trace in figure.data for v in trace.y if v is not None)
    top = max(frame_top([t.value or 0.0 for t in done]), low + 0.1)
    figure.update_xaxes(**log_axis(x), range=[math.log10(min(x)), math.log10(max(x) * 1.05)])
    figure.update_yaxes(range=[low - 0.05 * (top - low), top + 0.35 * (top - low)])
    return figure


def _curve_groups(snapshot: Snapshot) -> list[_CurveGroup]:
    """Return the groups of runs, the most important last, so that they are drawn on top."""
    short, long = snapshot.plan.proxy, snapshot.plan.confirm
    proxies = [t for t in snapshot.proxies if _has_reports(t)]
    done, pruned = ([t for t in proxies if t.state == s] for s in (TrialState.COMPLETE, TrialState.PRUNED))
    control = [t for t in done if attributes_of(t).control]
    others_done = [t for t in done if not attributes_of(t).control]
    winners_runs = {id(r) for c in snapshot.confirmed[:1] for r in c.runs}
    runs = [r for r in snapshot.runs if _has_reports(r) and final_budget(snapshot.plan, r)]
    winner, others = [r for r in runs if id(r) in winners_runs], [r for r in runs if id(r) not in winners_runs]
    return [
        _CurveGroup(name="pruned proxies", trials=pruned, fidelity=short, colour=PRUNED, dash="dot", width=1),
        _CurveGroup(
            name="finished proxies", trials=others_done, fidelity=short, colour=SEARCHED, dash="solid", width=0.8
        ),
        _CurveGroup(
            name="controls (never pruned)", trials=control, fidelity=short, colour=RANDOM, dash="dashdot", width=1.5
        ),
        _CurveGroup(name="long runs", trials=others, fidelity=long, colour=BASELINE, dash="solid", width=1.5),
        _CurveGroup(name="long runs of the winner", trials=winner, fidelity=long, colour=BEST, dash="dash", width=3),
    ]


def _has_reports(trial: FrozenTrial) -> bool:
    return any(math.isfinite(v) and 0 < step < 100 for step, v in trial.intermediate_values.items())


def _unit(snapshot: Snapshot) -> tuple[str, float]:
    longest = snapshot.plan.confirm.budget_seconds if snapshot.runs else snapshot.plan.proxy.budget_seconds
    return ("minutes", 60.0) if longest > 120 else ("seconds", 1.0)


def _lines(trials: Sequence[FrozenTrial], fidelity: Fidelity, unit: float) -> tuple[list[Any], list[Any]]:
    """Return all curves as one line with gaps, since hundreds of plotly traces would be slow to open."""
    x: list[float | None] = []
    y: list[float | None] = []
    for trial in trials:
        budget = budget_seconds(trial, fidelity) / unit
        for step, value in sorted(trial.intermediate_values.items()):
            if math.isfinite(value) and 0 < step < 100:  # the final BPB is measured on more text
                x.append(round(step / 100 * budget, 4))
                y.append(round(value, 5))
        x.append(None)
        y.append(None)
    return x, y


def thinned_out(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return at most `MOST_CURVES` trials: half of them the best by their last BPB, half spread over the rest."""
    if len(trials) <= MOST_CURVES:
        return list(trials)
    ranked = sorted(trials, key=lambda t: v if (v := last_bpb(t)) is not None else math.inf)
    half = MOST_CURVES // 2
    others = ranked[half:]
    picked = np.linspace(0, len(others) - 1, MOST_CURVES - half).round().astype(int)
    return [*ranked[:half], *(others[i] for i in picked)]


def describe_curves(snapshot: Snapshot) -> str:
    """Return the budgets, what a report measures, and what is left out of the figure."""
    short, long = snapshot.plan.proxy.budget, snapshot.plan.confirm.budget
    text = f"Proxies trained for {short}" + (f", long runs for {long}. " if snapshot.runs else ". ")
    size = known_report_bytes(snapshot.plan, snapshot.study.proxy_attributes())
    part = f"{size:,} bytes" if size else "a part"
    text += f"Reports measure {part} of the validation text, evenly spread; final BPB, of all of it, are in the other "
    text += "figures."
    if max(len(snapshot.proxies), len(snapshot.runs)) > MOST_CURVES:
        text += f" Of each kind at most {MOST_CURVES} curves are drawn: the best, and others evenly."
    return text
