"""The figures of the search space: BPB by each setting, and the settings' importance."""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.analysis.snapshot import Snapshot
from search.show.figures.style import BASELINE, BEST, PRUNED, SEARCHED, empty_figure, frame_top, log_axis, template
from search.show.wording import joined
from search.study.space import RECORDS, SECTION_OF, Parameter
from search.study.trials import attributes_of, finished

COLUMNS = 3
"""Columns of the slices' panels, except on phones."""
ROW_HEIGHT, NARROW_ROW_HEIGHT = 230, 150
"""Height of a row of panels in CSS pixels, on a desktop and on a phone."""
UNITS = {
    "vocab_size": "tokens",
    "batch_size": "sequences",
    "n_layer": "blocks",
    "context": "tokens",
    "window": "tokens",
}


def meaning(name: str) -> str:
    """Return a setting's description, from its record."""
    doc = next(f.metadata.get("doc", "") for f in fields(RECORDS[SECTION_OF[name]]) if f.name == name)
    return str(doc)


def _searched(snapshot: Snapshot) -> list[str]:
    tried = {name for t in finished(list(snapshot.proxies)) for name in t.params}
    return [name for name in snapshot.plan.space.parameters if name in tried]


def draw_slices(snapshot: Snapshot) -> Any:
    """Return the figure of BPB by each searched setting, a panel each, with pruned proxies along its top."""
    from plotly.subplots import make_subplots

    names, done = _searched(snapshot), finished(list(snapshot.proxies))
    if not names or len(done) < 2:
        return None
    rows = math.ceil(len(names) / COLUMNS)
    gap = min(0.12, 0.3 / rows)
    figure = make_subplots(rows=rows, cols=COLUMNS, shared_yaxes="all", vertical_spacing=gap, horizontal_spacing=0.04)
    figure.update_layout(template=template(), height=ROW_HEIGHT * rows + 60, legend_tracegroupgap=0)
    top = frame_top([t.value or 0.0 for t in done])
    low = min(t.value or 0.0 for t in done)
    margin = 0.08 * (top - low or 0.1)
    for i, name in enumerate(names):
        _slice(figure, snapshot, name, i, top=top, margin=margin)
    figure.update_yaxes(range=[low - margin, top + 2 * margin])
    for row in range(1, rows + 1):
        figure.update_yaxes(title=f"BPB after {snapshot.plan.proxy.budget}", row=row, col=1)
    for spare in range(len(names), rows * COLUMNS):
        figure.update_xaxes(visible=False, row=rows, col=spare % COLUMNS + 1)
        figure.update_yaxes(visible=False, row=rows, col=spare % COLUMNS + 1)
    figure.update_layout(meta={"narrow": _phone_layout(len(names))})
    return figure


def _slice(figure: Any, snapshot: Snapshot, name: str, index: int, *, top: float, margin: float) -> None:
    parameter = snapshot.plan.space.parameters[name]
    where = {"row": index // COLUMNS + 1, "col": index % COLUMNS + 1}
    having = [t for t in snapshot.proxies if name in t.params]
    done = finished(having)
    best = min(done, key=lambda t: t.value or 0.0, default=None)
    if best is not min(finished(list(snapshot.proxies)), key=lambda t: t.value or 0.0):
        best = None  # the study's best has no such setting
    kinds = (
        ("pruned", [t for t in having if t.state == TrialState.PRUNED], "x-thin-open", PRUNED),
        ("finished", [t for t in done if attributes_of(t).baseline is None], "circle-open", SEARCHED),
        ("hand-made baseline", [t for t in done if attributes_of(t).baseline is not None], "diamond", BASELINE),
        ("best", [best] if best else [], "star", BEST),
    )
    for kind, trials, symbol, colour in kinds:
        figure.add_scatter(
            x=[_axis_value(parameter, t.params[name]) for t in trials],
            y=[top + margin if t.state == TrialState.PRUNED else min(t.value or 0.0, top) for t in trials],
            name=kind,
            legendgroup=kind,
            showlegend=index == 0,
            mode="markers",
            marker={"symbol": symbol, "color": colour, "size": 12 if kind == "best" else 7},
            text=[_hover_text(t) for t in trials],
            hovertemplate=f"{name} %{{x}}<br>%{{text}}<extra></extra>",
            **where,
        )
    unit = f", {UNITS[name]}" if name in UNITS else ""
    figure.update_xaxes(title=f"{name}{unit}", **_axis(parameter), **where)


def _hover_text(t: FrozenTrial) -> str:
    return f"trial {t.number}" + ("" if t.value is None else f": {t.value:.4f} BPB")


def _axis_value(parameter: Parameter, value: Any) -> Any:
    return value if parameter.choices is None else str(next((c for c in parameter.choices if c == value), value))


def _axis(parameter: Parameter) -> dict[str, Any]:
    """Return the setting's axis: choices in order, a range on its own scale."""
    if parameter.choices is not None:
        numbers = all(type(v) in (int, float) for v in parameter.choices)
        order = sorted(parameter.choices, key=float) if numbers else list(parameter.choices)
        return {"type": "category", "categoryorder": "array", "categoryarray": [str(v) for v in order]}
    return (
        log_axis([float(parameter.low or 1), float(parameter.high or 1)], (1, 3))
        if parameter.log
        else {"type": "linear", "nticks": 6}
    )


def _phone_layout(panels: int) -> dict[str, Any]:
    """Return plotly's layout changes for a phone: all panels below one another."""
    height = 1 / panels
    changes: dict[str, Any] = {"height": NARROW_ROW_HEIGHT * panels + 80}
    for i in range(math.ceil(panels / COLUMNS) * COLUMNS):
        number = "" if i == 0 else str(i + 1)
        top = max(height, 1 - i * height)
        changes[f"xaxis{number}.domain"] = [0, 1]
        changes[f"yaxis{number}.domain"] = [top - 0.6 * height, top]
        changes[f"yaxis{number}.title.text"] = "BPB"
        changes[f"yaxis{number}.showticklabels"] = True
    return changes


def describe_slices(snapshot: Snapshot) -> str:
    """Return the numbers of finished and pruned proxies."""
    done = len(finished(list(snapshot.proxies)))
    pruned = sum(t.state == TrialState.PRUNED for t in snapshot.proxies)
    pruned_note = f"; {pruned} pruned ones are crosses along the top, since they have no final BPB" if pruned else ""
    return f"{done} finished proxies{pruned_note}."


def draw_importance(snapshot: Snapshot) -> Any:
    """Return the figure of the settings' importance, with the most that chance alone reached."""
    importance = snapshot.importance
    if importance is None:
        return None
    names = list(reversed(importance.divergences))
    figure = empty_figure("divergence of the best quarter from all", "", height=130 + 30 * len(names))
    proven, shares = set(importance.proven), importance.shares
    groups: Sequence[tuple[str, list[str], str, str]] = (
        ("more than chance", [n for n in names if n in proven], BEST, ""),
        ("not more than chance", [n for n in names if n not in proven], PRUNED, "/"),
    )
    for label, members, colour, pattern in groups:
        if members:
            figure.add_bar(
                x=[importance.divergences[n] for n in members],
                y=members,
                name=label,
                text=[f"{shares[n]:.0%} of all settings' importance" for n in members],
                textposition="none",
                hovertemplate="%{y}: %{x:.3g}, %{text}<extra></extra>",
                orientation="h",
                marker={"color": colour, "pattern": {"shape": pattern}},
            )
    figure.add_scatter(
        x=[importance.by_chance[n] for n in names],
        y=names,
        name="most by chance",
        hovertemplate="%{y}: %{x:.3g} at most by chance<extra></extra>",
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 16, "color": BASELINE, "line": {"width": 2.5}},
    )
    figure.update_yaxes(categoryorder="array", categoryarray=names)
    figure.update_xaxes(rangemode="tozero")
    figure.update_layout(meta={"narrow": {"xaxis.title.text": "divergence of the<br>best quarter from all"}})
    return figure


def describe_importance(snapshot: Snapshot) -> str:
    """Return which settings mattered, and from how many trials that is known."""
    importance = snapshot.importance
    if importance is None:
        return ""
    trials_text = f"over {importance.trials} trials, of which {importance.best} are the best quarter"
    if not importance.proven:
        return f"No setting set the best proxies apart by more than chance shows ({trials_text})."
    shares = joined([f"{importance.shares[n]:.0%}" for n in importance.proven])
    return (
        f"{joined(importance.proven)} set the best proxies apart, by more than chance shows ({shares} of all settings' "
        f"importance, {trials_text})."
    )
