"""The figures of a grid study: what one setting does to loss, speed and size, a line for each value of the others."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.show.facts import Facts
from search.show.history import frame_top
from search.show.settings import UNITS
from search.show.theme import BEST, COLOURS, DASHES, SYMBOLS, template
from search.sweep import Point, numbers, points_of, shown, shown_bpb

SPREAD = 10.0
"""Values whose largest is more than so many times the smallest stand on a logarithmic axis."""
MOST_TICKS = 12
LOSSES = ("val_bpb", "train_bpb")
NEAR = 0.1
"""A loss that is above the best by no more than this share stays in the frame, however close the others are."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One measure of the points."""

    measure: str
    title: str
    """With its unit."""
    unit: float = 1.0
    """What one of the axis is in the measure: 1e6 for millions."""
    log: bool = False
    """Whether on a logarithmic axis, where its values are spread."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A figure of one swept setting: panels above one another, which share its axis."""

    swept: str | None
    """None: the setting with the most values."""
    axis: str = ""
    """The setting in words, with its unit; empty: its name."""
    panels: Sequence[Panel]
    log: bool = True
    """Whether the axis is logarithmic where the values are spread."""
    height: int = 210
    """Of a panel, in CSS pixels."""


BPB = Panel(measure="val_bpb", title="validation BPB")
RATE = Panel(measure="tokens_per_second", title="tokens/s", log=True)
ANY = Sweep(swept=None, panels=(BPB,))
SCHEDULES = Sweep(
    swept="max_lr",
    axis="highest learning rate",
    panels=(BPB, Panel(measure="train_bpb", title="training BPB")),
    height=290,
)
VOCABULARY = Sweep(
    swept="vocab_size",
    axis="vocabulary, tokens",
    panels=(BPB, Panel(measure="bytes_per_token", title="bytes per token"), RATE),
)
DEPTH = Sweep(
    swept="n_layer",
    axis="depth, transformer blocks",
    panels=(Panel(measure="tokens_per_param", title="tokens per parameter", log=True), BPB),
)
BATCH = Sweep(swept="batch_size", axis="batch, sequences per step", panels=(BPB, RATE))
LATENT = Sweep(
    swept="projection_dim",
    axis="width of the latent projection",
    panels=(
        Panel(measure="n_params", title="parameters, millions", unit=1e6),
        RATE,
        Panel(measure="tokens", title="tokens, millions", unit=1e6),
        BPB,
    ),
    log=False,
    height=180,
)


def draw_sweep(sweep: Sweep, facts: Facts) -> Any:
    """Return the figure; None where fewer than two values of the setting have a finished run."""
    from plotly.subplots import make_subplots

    found = [p for p in points_of(facts.plan, facts.proxies) if p.runs]
    swept = sweep.swept or _widest(found)
    lines, levels = split(found, swept)
    values = _values([p.params[swept] for points in lines.values() for p in points])
    if len(values) < 2:
        return None
    panels = _known(sweep, found)
    drawn = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.16 / len(panels))
    drawn.update_layout(template=template(), height=max(400, sweep.height * len(panels) + 100))
    for row, panel in enumerate(panels, start=1):
        for index, (name, points) in enumerate(lines.items()):
            _add_line(drawn, panel, points, swept, _style(name, index, row))
        for index, (name, point) in enumerate(levels.items(), start=len(lines)):
            _add_level(drawn, panel, point, (values[0], values[-1]), _style(name, index, row))
        drawn.update_yaxes(title=panel.title, row=row, col=1, **_scale(panel, panels, found))
    _ring(drawn, panels, found, swept)
    drawn.update_xaxes(**_axis(values, sweep.log))
    drawn.update_xaxes(title=sweep.axis or _named(swept), row=len(panels), col=1)
    return drawn


def _widest(found: Sequence[Point]) -> str:
    names = dict.fromkeys(name for p in found for name in p.params)
    return max(names, key=lambda n: len({p.params[n] for p in found if n in p.params}), default="")


def split(found: Sequence[Point], swept: str) -> tuple[dict[str, list[Point]], dict[str, Point]]:
    """Return the points by the other settings' values: lines along `swept`; levels, where a condition excludes it."""
    lines: dict[str, list[Point]] = {}
    levels: dict[str, Point] = {}
    for p in found:
        name = ", ".join(f"{k} {shown(v)}" for k, v in p.params.items() if k != swept) or "mean over the runs"
        if swept in p.params:
            lines.setdefault(name, []).append(p)
        else:
            levels[name] = p
    return lines, levels


def _values(given: Sequence[Any]) -> list[Any]:
    """Return the values once each: numbers by size, others as they come."""
    met = list(dict.fromkeys(given))
    return sorted(met) if numbers(met) else met


def _known(sweep: Sweep, found: Sequence[Point]) -> list[Panel]:
    """Return the panels that runs have figures for: runs of earlier versions lack some."""
    return [panel for panel in sweep.panels if any(panel.measure in p.means for p in found)]


def _style(name: str, index: int, row: int) -> dict[str, Any]:
    colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
    return {
        "name": name,
        "legendgroup": name,
        "showlegend": row == 1,
        "line": {"color": colour, "dash": dash},
        "marker": {"color": colour, "symbol": SYMBOLS[index % len(SYMBOLS)], "size": 8},
        "row": row,
        "col": 1,
    }


def _add_line(drawn: Any, panel: Panel, points: Sequence[Point], swept: str, style: Mapping[str, Any]) -> None:
    known = [(p.params[swept], p.means[panel.measure]) for p in points if panel.measure in p.means]
    halves = [None if m.half_width is None else m.half_width / panel.unit for _, m in known]
    drawn.add_scatter(
        x=[_at(value) for value, _ in known],
        y=[mean.value / panel.unit for _, mean in known],
        error_y={"type": "data", "array": halves, "thickness": 1.5} if any(halves) else None,
        mode="lines+markers",
        hovertemplate=f"{swept} %{{x}}: %{{y:.5~g}} {panel.title}",
        **style,
    )


def _add_level(drawn: Any, panel: Panel, point: Point, ends: tuple[Any, Any], style: Mapping[str, Any]) -> None:
    """Draw a point without the setting as a line across, with its interval as a band."""
    if (mean := point.means.get(panel.measure)) is None:
        return
    y, half = mean.value / panel.unit, (mean.half_width or 0.0) / panel.unit
    x = [_at(end) for end in ends]
    if half:
        corners = {"x": [*x, *reversed(x)], "y": [y - half, y - half, y + half, y + half]}
        band = {k: style[k] for k in ("legendgroup", "row", "col")}
        fill = {"fill": "toself", "fillcolor": _clear(style["line"]["color"]), "line": {"width": 0}}
        drawn.add_scatter(**corners, **fill, **band, mode="lines", showlegend=False, hoverinfo="skip")
    own = {k: v for k, v in style.items() if k != "marker"}
    drawn.add_scatter(x=x, y=[y, y], mode="lines", hovertemplate=f"%{{y:.5~g}} {panel.title}", **own)


def _clear(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


def _at(value: Any) -> Any:
    return value if numbers([value]) else shown(value)


def _scale(panel: Panel, panels: Sequence[Panel], found: Sequence[Point]) -> dict[str, Any]:
    """Return how the panel's axis runs; losses share one scale, and what is far above it leaves the frame."""
    if panel.measure in LOSSES:
        measures = [p.measure for p in panels if p.measure in LOSSES]
        means = [p.means[measure] for measure in measures for p in found if measure in p.means]
        values, half = [m.value for m in means], max(m.half_width or 0.0 for m in means)
        low, top = min(values), min(max(values), max(frame_top(values), (1 + NEAR) * min(values)))
        margin = 0.08 * (top - low + 2 * half) or 0.01
        return {"range": [low - half - margin, top + half + margin]}
    values = [p.means[panel.measure].value / panel.unit for p in found if panel.measure in p.means]
    return _log_axis(min(values), max(values)) if panel.log and spread(values) else {}


def _log_axis(low: float, high: float) -> dict[str, Any]:
    """Return a logarithmic axis with a tick at 1, 2 and 5 of each order of magnitude."""
    orders = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [digit * 10.0**order for order in orders for digit in (1, 2, 5)]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{t:,.6g}" for t in ticks]}


def spread(values: Sequence[Any]) -> bool:
    """Return whether these are positive numbers of different orders of magnitude."""
    return numbers(values) and min(values, default=0) > 0 and max(values) / min(values) > SPREAD


def _axis(values: Sequence[Any], log: bool) -> dict[str, Any]:
    if not numbers(values):
        return {"type": "category", "categoryorder": "array", "categoryarray": [shown(v) for v in values]}
    ticks: dict[str, Any] = {"tickvals": values, "ticktext": [shown(v) for v in values]}
    return (ticks if len(values) <= MOST_TICKS else {}) | ({"type": "log"} if log and spread(values) else {})


def _ring(drawn: Any, panels: Sequence[Panel], found: Sequence[Point], swept: str) -> None:
    """Ring the lowest validation BPB, where it lies on a line."""
    best = min(found, key=lambda p: p.bpb)
    row = next((i for i, panel in enumerate(panels, start=1) if panel is BPB), 0)
    if row and swept in best.params:
        ring = {"symbol": "circle-open", "size": 17, "color": BEST, "line": {"width": 2}}
        at = {"x": [_at(best.params[swept])], "y": [best.bpb], "row": row, "col": 1}
        drawn.add_scatter(**at, mode="markers", marker=ring, name="lowest validation BPB", hoverinfo="skip")


def _named(name: str) -> str:
    return f"{name}, {UNITS[name]}" if name in UNITS else name


def say_sweep(sweep: Sweep, facts: Facts) -> str:
    """Return where each line is lowest, how that compares with the levels, and what is missing."""
    every = points_of(facts.plan, facts.proxies)
    found = [p for p in every if p.runs]
    if not found:
        return ""
    swept = sweep.swept or _widest(found)
    lines, levels = split(found, swept)
    lowest = sorted(
        ((name, min(points, key=lambda p: p.bpb)) for name, points in lines.items()), key=lambda n: n[1].bpb
    )
    told = "; ".join(f"{name}: {shown_bpb(p)} BPB at {swept} {shown(p.params[swept])}" for name, p in lowest)
    said = [f"Lowest of each line: {told}."] if told else []
    said += [_compared(name, level, lowest[0][1]) for name, level in levels.items() if lowest]
    said += [f"{len(every) - len(found)} of {len(every)} points have no finished run."] * (len(found) < len(every))
    missing = [panel.title for panel in sweep.panels if panel not in _known(sweep, found)]
    said += [f"These runs didn't record: {', '.join(missing)}."] * bool(missing)
    return " ".join(said)


def _compared(name: str, level: Point, best: Point) -> str:
    """Return how the best point stands to a level, and whether noise alone could be it."""
    difference = best.bpb - level.bpb
    halves = [p.means["val_bpb"].half_width for p in (level, best)]
    noise = math.hypot(*(h or 0.0 for h in halves))
    sure = "" if None in halves else ", within noise" if abs(difference) <= noise else ", more than noise"
    return f"{name} has {shown_bpb(level)}: the lowest is {abs(difference):.4f} " + (
        f"{'below' if difference < 0 else 'above'} it{sure}."
    )
