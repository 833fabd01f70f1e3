"""The figures of the search space: BPB by each setting, and which settings mattered."""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.analysis.snapshot import Snapshot
from search.show.figures.style import BASELINE, BEST, FOUND, PRUNED, empty, frame_top, log_axis, template
from search.show.wording import joined
from search.study.space import RECORDS, SECTION_OF, Parameter
from search.study.trials import attributes_of, finished

COLUMNS = 3
"""Of the slices, but on a phone."""
ROW, NARROW_ROW = 230, 150
"""Height of a row of them, on a desktop and on a phone."""
UNITS = {
    "vocab_size": "tokens",
    "batch_size": "sequences",
    "n_layer": "blocks",
    "context": "tokens",
    "window": "tokens",
}


def meaning(name: str) -> str:
    """Return what a setting is, in the words of its record."""
    found = next(f.metadata.get("doc", "") for f in fields(RECORDS[SECTION_OF[name]]) if f.name == name)
    return str(found)


def _searched(facts: Snapshot) -> list[str]:
    tried = {name for t in finished(list(facts.proxies)) for name in t.params}
    return [name for name in facts.plan.space.parameters if name in tried]


def draw_slices(facts: Snapshot) -> Any:
    """Return BPB by each searched setting: a panel each, with the pruned ones along its top."""
    from plotly.subplots import make_subplots

    names, done = _searched(facts), finished(list(facts.proxies))
    if not names or len(done) < 2:
        return None
    rows = math.ceil(len(names) / COLUMNS)
    gap = min(0.12, 0.3 / rows)
    drawn = make_subplots(rows=rows, cols=COLUMNS, shared_yaxes="all", vertical_spacing=gap, horizontal_spacing=0.04)
    drawn.update_layout(template=template(), height=ROW * rows + 60, legend_tracegroupgap=0)
    top = frame_top([t.value or 0.0 for t in done])
    low = min(t.value or 0.0 for t in done)
    margin = 0.08 * (top - low or 0.1)
    for i, name in enumerate(names):
        _slice(drawn, facts, name, i, top=top, margin=margin)
    drawn.update_yaxes(range=[low - margin, top + 2 * margin])
    for row in range(1, rows + 1):
        drawn.update_yaxes(title=f"BPB after {facts.plan.proxy.budget}", row=row, col=1)
    for spare in range(len(names), rows * COLUMNS):
        drawn.update_xaxes(visible=False, row=rows, col=spare % COLUMNS + 1)
        drawn.update_yaxes(visible=False, row=rows, col=spare % COLUMNS + 1)
    drawn.update_layout(meta={"narrow": _narrow(len(names))})
    return drawn


def _slice(drawn: Any, facts: Snapshot, name: str, index: int, *, top: float, margin: float) -> None:
    parameter = facts.plan.space.parameters[name]
    where = {"row": index // COLUMNS + 1, "col": index % COLUMNS + 1}
    having = [t for t in facts.proxies if name in t.params]
    done = finished(having)
    best = min(done, key=lambda t: t.value or 0.0, default=None)
    if best is not min(finished(list(facts.proxies)), key=lambda t: t.value or 0.0):
        best = None  # the study's best has no such setting
    kinds = (
        ("pruned", [t for t in having if t.state == TrialState.PRUNED], "x-thin-open", PRUNED),
        ("finished", [t for t in done if attributes_of(t).baseline is None], "circle-open", FOUND),
        ("hand-made baseline", [t for t in done if attributes_of(t).baseline is not None], "diamond", BASELINE),
        ("best", [best] if best else [], "star", BEST),
    )
    for kind, trials, symbol, colour in kinds:
        drawn.add_scatter(
            x=[_at(parameter, t.params[name]) for t in trials],
            y=[top + margin if t.state == TrialState.PRUNED else min(t.value or 0.0, top) for t in trials],
            name=kind,
            legendgroup=kind,
            showlegend=index == 0,
            mode="markers",
            marker={"symbol": symbol, "color": colour, "size": 12 if kind == "best" else 7},
            text=[_named(t) for t in trials],
            hovertemplate=f"{name} %{{x}}<br>%{{text}}<extra></extra>",
            **where,
        )
    unit = f", {UNITS[name]}" if name in UNITS else ""
    drawn.update_xaxes(title=f"{name}{unit}", **_axis(parameter), **where)


def _named(t: FrozenTrial) -> str:
    return f"trial {t.number}" + ("" if t.value is None else f": {t.value:.4f} BPB")


def _at(parameter: Parameter, value: Any) -> Any:
    return value if parameter.choices is None else str(next((c for c in parameter.choices if c == value), value))


def _axis(parameter: Parameter) -> dict[str, Any]:
    """Return how the setting's axis runs: choices in order, a range on its own scale."""
    if parameter.choices is not None:
        numbers = all(type(v) in (int, float) for v in parameter.choices)
        order = sorted(parameter.choices, key=float) if numbers else list(parameter.choices)
        return {"type": "category", "categoryorder": "array", "categoryarray": [str(v) for v in order]}
    return (
        log_axis([float(parameter.low or 1), float(parameter.high or 1)], (1, 3))
        if parameter.log
        else {"type": "linear", "nticks": 6}
    )


def _narrow(panels: int) -> dict[str, Any]:
    """Return plotly's changes for a phone: all panels below one another."""
    height = 1 / panels
    changes: dict[str, Any] = {"height": NARROW_ROW * panels + 80}
    for i in range(math.ceil(panels / COLUMNS) * COLUMNS):
        number = "" if i == 0 else str(i + 1)
        top = max(height, 1 - i * height)
        changes[f"xaxis{number}.domain"] = [0, 1]
        changes[f"yaxis{number}.domain"] = [top - 0.6 * height, top]
        changes[f"yaxis{number}.title.text"] = "BPB"
        changes[f"yaxis{number}.showticklabels"] = True
    return changes


def say_slices(facts: Snapshot) -> str:
    """Return how many points there are."""
    done = len(finished(list(facts.proxies)))
    pruned = sum(t.state == TrialState.PRUNED for t in facts.proxies)
    left = f"; {pruned} pruned ones stand as crosses along the top, where no final BPB is known" if pruned else ""
    return f"{done} finished proxies{left}."


def draw_importance(facts: Snapshot) -> Any:
    """Return by how much each setting sets the best quarter apart, with what chance alone reaches."""
    found = facts.importance
    if found is None:
        return None
    names = list(reversed(found.divergences))
    drawn = empty("divergence of the best quarter from all", "", height=130 + 30 * len(names))
    proven, shares = set(found.proven), found.shares
    groups: Sequence[tuple[str, list[str], str, str]] = (
        ("more than chance", [n for n in names if n in proven], BEST, ""),
        ("not told from chance", [n for n in names if n not in proven], PRUNED, "/"),
    )
    for label, members, colour, pattern in groups:
        if members:
            drawn.add_bar(
                x=[found.divergences[n] for n in members],
                y=members,
                name=label,
                text=[f"{shares[n]:.0%} of all settings' importance" for n in members],
                textposition="none",
                hovertemplate="%{y}: %{x:.3g}, %{text}<extra></extra>",
                orientation="h",
                marker={"color": colour, "pattern": {"shape": pattern}},
            )
    drawn.add_scatter(
        x=[found.by_chance[n] for n in names],
        y=names,
        name="most that chance showed",
        hovertemplate="%{y}: %{x:.3g} at most by chance<extra></extra>",
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 16, "color": BASELINE, "line": {"width": 2.5}},
    )
    drawn.update_yaxes(categoryorder="array", categoryarray=names)
    drawn.update_xaxes(rangemode="tozero")
    drawn.update_layout(meta={"narrow": {"xaxis.title.text": "divergence of the<br>best quarter from all"}})
    return drawn


def say_importance(facts: Snapshot) -> str:
    """Return which settings mattered, over how many trials."""
    found = facts.importance
    if found is None:
        return ""
    over = f"over {found.trials} trials, of which {found.best} are the best quarter"
    if not found.proven:
        return f"No setting set the best proxies apart by more than chance shows ({over})."
    shares = joined([f"{found.shares[n]:.0%}" for n in found.proven])
    return (
        f"{joined(found.proven)} set the best proxies apart, by more than chance shows ({shares} of all settings' "
        f"importance, {over})."
    )
