"""How our figures look: colours that colour-blind people tell apart, on a ground that suits light and dark pages."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

REACH = 4
"""The frame ends so many times the median's distance above the best: who diverged would flatten all others."""


def frame_top(values: Sequence[float]) -> float:
    """Return up to where a figure of these finished BPB reaches."""
    best, middle = min(values), float(np.median(values))
    return min(max(values), best + REACH * (middle - best)) if middle > best else max(values)


_OURS = ("<br>", "<extra></extra>")
"""Markup that our figures use in their texts; what else looks like markup came from a study's names."""


def plain(part: Any) -> Any:
    """Return a figure's specification whose texts are shown as they are: plotly takes some for markup."""
    if isinstance(part, Mapping):
        return {key: plain(value) for key, value in part.items()}
    if isinstance(part, list):
        return [plain(value) for value in part]
    if isinstance(part, str) and "<" in part:
        text = part.replace("<", "&lt;")
        for ours in _OURS:
            text = text.replace(ours.replace("<", "&lt;"), ours)
        return text
    return part


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
"""Okabe & Ito's colours (jfly.uni-koeln.de/color), without the yellow and black that one of two grounds swallows."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
"""With each of our colours, so that lines are told apart without them too."""
FOUND, BASELINE, BEST, RANDOM = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ON_DARK = {"#0072B2": "#56B4E9"}
"""What a dark page draws instead: Okabe & Ito's dark blue is lost there."""
SCALE = ((0.0, "#0072B2"), (0.5, "#9a9a9a"), (1.0, "#E69F00"))
"""From good to bad, seen on either ground."""
PRUNED = "#8a8a8a"
"""At least 3 : 1 on either ground."""
INK = {"light": "#1f2328", "dark": "#e6edf3"}
GRID = {"light": "#d8dee4", "dark": "#3d444d"}
PAPER = {"light": "#ffffff", "dark": "#0d1117"}
"""What a page behind the figures should be."""
MUTED = {"light": "#57606a", "dark": "#9aa4af"}
LINK = {"light": "#0b5cad", "dark": "#6cb6ff"}
PANEL = {"light": "#f3f5f7", "dark": "#161b22"}
HEIGHT = 400
"""Of a figure, in CSS pixels."""


def template(ground: str = "light") -> Any:
    """Return plotly's template for a light or a dark ground; the paper itself is left clear."""
    import plotly.graph_objects as go

    axis = {
        "gridcolor": GRID[ground],
        "linecolor": GRID[ground],
        "showline": True,
        "zeroline": False,
        "automargin": True,
        "title": {"standoff": 8},
    }
    return go.layout.Template(
        layout={
            "colorway": COLOURS,
            "font": {"color": INK[ground], "size": 13, "family": "system-ui, sans-serif"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
            "margin": {"l": 50, "r": 16, "t": 20, "b": 45},
            "hoverlabel": {"font": {"family": "system-ui, sans-serif"}},
            "coloraxis": {"colorbar": {"outlinewidth": 0, "thickness": 14}},
        }
    )


def empty(x: str, y: str, *, height: int = HEIGHT) -> Any:
    """Return a figure without traces, its axes named with their units."""
    import plotly.graph_objects as go

    drawn = go.Figure(layout={"template": template(), "height": height})
    drawn.update_xaxes(title_text=x)
    drawn.update_yaxes(title_text=y)
    return drawn


def log_axis(values: Sequence[float], named: Sequence[int] = (1, 2, 5)) -> dict[str, Any]:
    """Return plotly's settings of a logarithmic axis over these values, with these of each decade named."""
    decades = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    ticks = [m * 10.0**d for d in decades for m in (named if len(decades) < 5 else (1,))]
    return {"type": "log", "tickvals": ticks, "ticktext": [_tick(t) for t in ticks]}


def _tick(value: float) -> str:
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:g}{unit}"
    return f"{value:g}"


def note(drawn: Any, text: str) -> None:
    """Write a line into a figure's upper left corner."""
    place = {"xref": "paper", "yref": "paper", "x": 0.01, "xanchor": "left", "y": 0.99, "yanchor": "top"}
    drawn.add_annotation(text=text, showarrow=False, align="left", **place)
