"""The figures of a grid study: loss, speed and size by one setting, with a line for each value of the others."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from search.analysis.grid import Point, numbers, points_of, value_text
from search.analysis.snapshot import Snapshot
from search.show.figures.grid_panels import BPB, Panel, Sweep, other_settings, recorded_panels, split, widest
from search.show.figures.space import UNITS
from search.show.figures.style import BEST, COLOURS, DASHES, SYMBOLS, frame_top, template

SPREAD = 10.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""
MOST_TICKS = 12
LOSSES = ("val_bpb", "train_bpb")
NEAR_SHARE = 0.1
"""Share by which a loss may be above the best and still be in the frame, however close the others are."""


def draw_sweep(sweep: Sweep, snapshot: Snapshot) -> Any:
    """Return a sweep's figure; None if fewer than two values of the setting have a finished run."""
    from plotly.subplots import make_subplots

    all_points = points_of(snapshot.plan, snapshot.proxies)
    finished = [p for p in all_points if p.runs]
    swept = sweep.swept or widest(finished)
    lines, levels = split([p for p in all_points if p.runs or p.failed], swept)
    values = _values([p.params[swept] for points in lines.values() for p in points])
    if len({p.params[swept] for p in finished if swept in p.params}) < 2:
        return None
    panels = recorded_panels(sweep, finished)
    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.16 / len(panels))
    figure.update_layout(template=template(), height=max(400, sweep.height * len(panels) + 100))
    for row, panel in enumerate(panels, start=1):
        for index, (name, points) in enumerate(lines.items()):
            _add_line(figure, panel, points, swept, _style(name, index, row))
        for index, (name, point) in enumerate(levels.items(), start=len(lines)):
            _add_level(figure, panel, point, (values[0], values[-1]), _style(name, index, row))
        figure.update_yaxes(title=panel.title, row=row, col=1, **_scale(panel, panels, finished))
    _ring(figure, panels, finished, swept)
    _cross(figure, panels, [p for p in all_points if p.failed], swept, list(lines))
    figure.update_xaxes(**_axis(values, sweep.log))
    figure.update_xaxes(title=sweep.axis or _with_unit(swept), row=len(panels), col=1)
    return figure


def _values(values: Sequence[Any]) -> list[Any]:
    """Return the distinct values: numbers in order of size, others in the order given."""
    distinct = list(dict.fromkeys(values))
    return sorted(distinct) if numbers(distinct) else distinct


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


def _add_line(figure: Any, panel: Panel, points: Sequence[Point], swept: str, style: Mapping[str, Any]) -> None:
    means = [p.means.get(panel.measure) for p in points]
    halves = [None if m is None or m.half_width is None else m.half_width / panel.unit for m in means]
    figure.add_scatter(
        x=[_axis_value(p.params[swept]) for p in points],
        y=[None if m is None else m.value / panel.unit for m in means],  # None: a gap in the line
        error_y={"type": "data", "array": halves, "thickness": 1.5} if any(halves) else None,
        mode="lines+markers",
        hovertemplate=f"{swept} %{{x}}: %{{y:.5~g}} {panel.title}",
        **style,
    )


def _add_level(figure: Any, panel: Panel, point: Point, ends: tuple[Any, Any], style: Mapping[str, Any]) -> None:
    """Draw a point that doesn't have the setting as a horizontal line, with its interval as a band."""
    if (mean := point.means.get(panel.measure)) is None:
        return
    y, half = mean.value / panel.unit, (mean.half_width or 0.0) / panel.unit
    x = [_axis_value(end) for end in ends]
    if half:
        corners = {"x": [*x, *reversed(x)], "y": [y - half, y - half, y + half, y + half]}
        band = {k: style[k] for k in ("legendgroup", "row", "col")}
        fill = {"fill": "toself", "fillcolor": _transparent(style["line"]["color"]), "line": {"width": 0}}
        figure.add_scatter(**corners, **fill, **band, mode="lines", showlegend=False, hoverinfo="skip")
    own = {k: v for k, v in style.items() if k != "marker"}
    figure.add_scatter(x=x, y=[y, y], mode="lines", hovertemplate=f"%{{y:.5~g}} {panel.title}", **own)


def _transparent(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


def _axis_value(value: Any) -> Any:
    return value if numbers([value]) else value_text(value)


def _scale(panel: Panel, panels: Sequence[Panel], finished: Sequence[Point]) -> dict[str, Any]:
    """Return the panel's y axis; losses share one scale, and those far above it are outside the frame."""
    if panel.measure in LOSSES:
        measures = [p.measure for p in panels if p.measure in LOSSES]
        means = [p.means[measure] for measure in measures for p in finished if measure in p.means]
        values, half = [m.value for m in means], max(m.half_width or 0.0 for m in means)
        low, top = min(values), min(max(values), max(frame_top(values), (1 + NEAR_SHARE) * min(values)))
        margin = 0.08 * (top - low + 2 * half) or 0.01
        return {"range": [low - half - margin, top + half + margin]}
    values = [p.means[panel.measure].value / panel.unit for p in finished if panel.measure in p.means]
    return _log_axis(min(values), max(values)) if panel.log and spread(values) else {}


def _log_axis(low: float, high: float) -> dict[str, Any]:
    """Return a logarithmic axis with a tick at 1, 2 and 5 of each order of magnitude."""
    orders = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [digit * 10.0**order for order in orders for digit in (1, 2, 5)]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{t:,.6g}" for t in ticks]}


def spread(values: Sequence[Any]) -> bool:
    """Return whether these are positive numbers whose ratio asks for a logarithmic axis."""
    return numbers(values) and min(values, default=0) > 0 and max(values) / min(values) > SPREAD


def _axis(values: Sequence[Any], log: bool | None) -> dict[str, Any]:
    if not numbers(values):
        return {"type": "category", "categoryorder": "array", "categoryarray": [value_text(v) for v in values]}
    ticks: dict[str, Any] = {"tickvals": values, "ticktext": [value_text(v) for v in values]}
    return (ticks if len(values) <= MOST_TICKS else {}) | (
        {"type": "log"} if (spread(values) if log is None else log) else {}
    )


def _ring(figure: Any, panels: Sequence[Panel], finished: Sequence[Point], swept: str) -> None:
    """Draw a ring round the lowest validation BPB, if it is on a line."""
    best = min(finished, key=lambda p: p.bpb)
    row = next((i for i, panel in enumerate(panels, start=1) if panel is BPB), 0)
    if row and swept in best.params:
        ring = {"symbol": "circle-open", "size": 17, "color": BEST, "line": {"width": 2}}
        at = {"x": [_axis_value(best.params[swept])], "y": [best.bpb], "row": row, "col": 1}
        figure.add_scatter(**at, mode="markers", marker=ring, name="lowest validation BPB", hoverinfo="skip")


def _cross(figure: Any, panels: Sequence[Panel], failed: Sequence[Point], swept: str, lines: Sequence[str]) -> None:
    """Draw failed points as crosses at the top of the panel of validation BPB, in their lines' colours."""
    row = next((i for i, panel in enumerate(panels, start=1) if panel is BPB), 0)
    crossed = [p for p in failed if swept in p.params]
    if row and crossed:
        colours = [COLOURS[lines.index(other_settings(p, swept)) % len(COLOURS)] for p in crossed]
        top = next(figure.select_yaxes(row=row)).range[1]
        figure.add_scatter(
            x=[_axis_value(p.params[swept]) for p in crossed],
            y=[top] * len(crossed),
            text=[f"{other_settings(p, swept)}: {p.others}" for p in crossed],
            hovertemplate="%{text}<extra></extra>",
            mode="markers",
            marker={"symbol": "x", "size": 11, "color": colours},
            name="failed",
            cliponaxis=False,
            row=row,
            col=1,
        )


def _with_unit(name: str) -> str:
    return f"{name}, {UNITS[name]}" if name in UNITS else name
