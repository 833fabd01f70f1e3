"""The figures of how the search went: every trial in its turn, and the learning curves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search.analysis.snapshot import Snapshot
from search.show.figures.style import BASELINE, BEST, FOUND, PRUNED, RANDOM, empty, frame_top, log_axis
from search.study.cost import budget_seconds
from search.study.settings import Fidelity
from search.study.trials import attributes_of, final_budget, finished, run_label

MOST_CURVES = 80
"""Lines of one kind in a figure: beyond, they only cover one another."""


def ended(facts: Snapshot) -> list[FrozenTrial]:
    """Return the proxies that have ended, in the order of their ends."""
    trials = [t for t in facts.proxies if t.state.is_finished()]
    return sorted(trials, key=lambda t: (t.datetime_complete or datetime.min, t.number))


def last_bpb(trial: FrozenTrial) -> float | None:
    """Return what a trial measured last: its final BPB, or where it was stopped."""
    reports = [v for _, v in sorted(trial.intermediate_values.items()) if math.isfinite(v)]
    return trial.value if trial.state == TrialState.COMPLETE else reports[-1] if reports else None


def draw_history(facts: Snapshot) -> Any:
    """Return every proxy in the order of its end, with the best so far."""
    trials = ended(facts)
    done = finished(trials)
    if not done:
        return None
    drawn = empty("proxies, in the order of their ends", f"validation BPB after {facts.plan.proxy.budget}")
    top = frame_top([t.value or 0.0 for t in done])
    low = min(t.value or 0.0 for t in done)
    margin = 0.06 * (top - low or 0.1)
    place = {t.number: i for i, t in enumerate(trials, start=1)}
    for name, chosen, symbol, colour in _kinds(trials):
        drawn.add_scatter(
            x=[place[t.number] for t in chosen],
            y=[min(v, top) if (v := last_bpb(t)) is not None else top + margin for t in chosen],
            name=name,
            mode="markers",
            marker={"symbol": symbol, "color": colour, "size": 8},
            text=[_said(t) for t in chosen],
            hovertemplate="%{text}<extra></extra>",
        )
    best = np.minimum.accumulate([t.value or 0.0 for t in done])
    line = {"color": BEST, "shape": "hv", "width": 2}
    drawn.add_scatter(x=[place[t.number] for t in done], y=best.tolist(), name="best so far", mode="lines", line=line)
    drawn.update_yaxes(range=[low - margin, top + 2 * margin])
    return drawn


def _kinds(trials: Sequence[FrozenTrial]) -> list[tuple[str, list[FrozenTrial], str, str]]:
    def of(state: TrialState, *, baseline: bool = False) -> list[FrozenTrial]:
        return [t for t in trials if t.state == state and (attributes_of(t).baseline is not None) == baseline]

    failed = [t for t in trials if t.state == TrialState.FAIL]
    kinds = [
        ("finished", of(TrialState.COMPLETE), "circle", FOUND),
        ("hand-made baseline", of(TrialState.COMPLETE, baseline=True), "diamond", BASELINE),
        ("pruned, at its last report", of(TrialState.PRUNED), "x-thin-open", PRUNED),
        ("failed", failed, "triangle-down-open", RANDOM),
    ]
    return [kind for kind in kinds if kind[1]]


def _said(trial: FrozenTrial) -> str:
    value = last_bpb(trial)
    said = f"trial {trial.number}: {value:.4f} BPB" if value is not None else f"trial {trial.number}"
    if trial.state == TrialState.PRUNED:
        return f"{said}, pruned at {trial.last_step}%"
    return f"{said}, failed: {attributes_of(trial).failure or 'unknown'}" if trial.state == TrialState.FAIL else said


def say_history(facts: Snapshot) -> str:
    """Return when the best proxy was found, and what became of the others."""
    trials = ended(facts)
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
class _Curves:
    """Runs that are drawn alike."""

    name: str
    trials: list[FrozenTrial]
    fidelity: Fidelity
    colour: str
    dash: str
    width: float


def draw_curves(facts: Snapshot) -> Any:
    """Return the learning curves of proxies and long runs over the time trained, the best one's on top."""
    kinds = [kind for kind in _curves(facts) if kind.trials]
    done = (*facts.finished, *finished(list(facts.runs)))
    if not kinds or not done:
        return None
    unit, seconds = _unit(facts)
    drawn = empty(f"training time, {unit} (log scale)", "validation BPB")
    for kind in kinds:
        x, y = _lines(thinned(kind.trials), kind.fidelity, seconds)
        line = {"color": kind.colour, "dash": kind.dash, "width": kind.width}
        drawn.add_scatter(x=x, y=y, name=kind.name, mode="lines", line=line, hoverinfo="skip")
    x = [v for trace in drawn.data for v in trace.x if v is not None]
    low = min(v for trace in drawn.data for v in trace.y if v is not None)
    top = max(frame_top([t.value or 0.0 for t in done]), low + 0.1)
    drawn.update_xaxes(**log_axis(x), range=[math.log10(min(x)), math.log10(max(x) * 1.05)])
    drawn.update_yaxes(range=[low - 0.05 * (top - low), top + 0.35 * (top - low)])
    return drawn


def _curves(facts: Snapshot) -> list[_Curves]:
    """Return the runs in groups, those that matter most last, so that they are drawn on top."""
    short, long = facts.plan.proxy, facts.plan.confirm
    proxies = [t for t in facts.proxies if _reported(t)]
    done, pruned = ([t for t in proxies if t.state == s] for s in (TrialState.COMPLETE, TrialState.PRUNED))
    control = [t for t in done if attributes_of(t).control]
    rest = [t for t in done if not attributes_of(t).control]
    own = {id(r) for c in facts.confirmed[:1] for r in c.runs}
    runs = [r for r in facts.runs if _reported(r) and final_budget(facts.plan, r)]
    mine, others = [r for r in runs if id(r) in own], [r for r in runs if id(r) not in own]
    return [
        _Curves(name="pruned proxies", trials=pruned, fidelity=short, colour=PRUNED, dash="dot", width=1),
        _Curves(name="finished proxies", trials=rest, fidelity=short, colour=FOUND, dash="solid", width=0.8),
        _Curves(
            name="controls (never pruned)", trials=control, fidelity=short, colour=RANDOM, dash="dashdot", width=1.5
        ),
        _Curves(name="long runs", trials=others, fidelity=long, colour=BASELINE, dash="solid", width=1.5),
        _Curves(name="long runs of the winner", trials=mine, fidelity=long, colour=BEST, dash="dash", width=3),
    ]


def _reported(trial: FrozenTrial) -> bool:
    return any(math.isfinite(v) and 0 < step < 100 for step, v in trial.intermediate_values.items())


def _unit(facts: Snapshot) -> tuple[str, float]:
    longest = facts.plan.confirm.budget_seconds if facts.runs else facts.plan.proxy.budget_seconds
    return ("minutes", 60.0) if longest > 120 else ("seconds", 1.0)


def _lines(trials: Sequence[FrozenTrial], fidelity: Fidelity, unit: float) -> tuple[list[Any], list[Any]]:
    """Return all curves as one line with gaps: hundreds of traces would be slow to open."""
    x: list[float | None] = []
    y: list[float | None] = []
    for trial in trials:
        budget = budget_seconds(trial, fidelity) / unit
        for step, value in sorted(trial.intermediate_values.items()):
            if math.isfinite(value) and 0 < step < 100:  # the final value is of other text
                x.append(round(step / 100 * budget, 4))
                y.append(round(value, 5))
        x.append(None)
        y.append(None)
    return x, y


def thinned(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return at most `MOST_CURVES` of them: the better half of these by their last BPB, the others evenly."""
    if len(trials) <= MOST_CURVES:
        return list(trials)
    ranked = sorted(trials, key=lambda t: v if (v := last_bpb(t)) is not None else math.inf)
    half = MOST_CURVES // 2
    others = ranked[half:]
    picked = np.linspace(0, len(others) - 1, MOST_CURVES - half).round().astype(int)
    return [*ranked[:half], *(others[i] for i in picked)]


def say_curves(facts: Snapshot) -> str:
    """Return what was left out of the figure, and how long runs were."""
    short, long = facts.plan.proxy.budget, facts.plan.confirm.budget
    said = f"Proxies trained for {short}" + (f", long runs for {long}. " if facts.runs else ". ")
    said += (
        f"Reports measure the first {facts.plan.proxy.report_bytes:,} bytes of the validation text; final BPB, of all "
    )
    said += "of it, are in the other figures."
    if max(len(facts.proxies), len(facts.runs)) > MOST_CURVES:
        said += f" Of each kind at most {MOST_CURVES} curves are drawn: the best, and others evenly."
    return said
