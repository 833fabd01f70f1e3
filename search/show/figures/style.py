"""The style of the figures: colours that colour-blind people can tell apart, on light and on dark pages."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

REACH = 4
"""Height of the frame above the best, in distances of the median from it: diverged runs would flatten all others."""


def frame_top(values: Sequence[float]) -> float:
    """Return the upper end of a figure's axis for these final BPB."""
    best, middle = min(values), float(np.median(values))
    return min(max(values), best + REACH * (middle - best)) if middle > best else max(values)


_OWN_MARKUP = ("<br>", "<extra></extra>")
"""Markup in the texts of our figures; anything else that looks like markup came from a study's names."""


def plain(part: Any) -> Any:
    """Return a figure's specification with its texts escaped, since plotly interprets some markup."""
    if isinstance(part, Mapping):
        return {key: plain(value) for key, value in part.items()}
    if isinstance(part, list):
        return [plain(value) for value in part]
    if isinstance(part, str) and "<" in part:
        text = part.replace("<", "&lt;")
        for markup in _OWN_MARKUP:
            text = text.replace(markup.replace("<", "&lt;"), markup)
        return text
    return part


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
"""Okabe & Ito's colours (jfly.uni-koeln.de/color), without yellow and black, each hard to see on one ground."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
"""Dashes of lines, one for each colour in turn, so that lines are told apart without colours too."""
SEARCHED, BASELINE, BEST, RANDOM = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ON_DARK = {"#0072B2": "#56B4E9"}
"""Colours that are replaced on dark pages, on which Okabe & Ito's dark blue is hard to see."""
SCALE = ((0.0, "#0072B2"), (0.5, "#9a9a9a"), (1.0, "#E69F00"))
"""Colour scale from good to bad, visible on either ground."""
PRUNED = "#8a8a8a"
"""Colour of pruned trials: its contrast is at least 3 : 1 on either ground."""
INK = {"light": "#1f2328", "dark": "#e6edf3"}
GRID = {"light": "#d8dee4", "dark": "#3d444d"}
PAPER = {"light": "#ffffff", "dark": "#0d1117"}
"""Background of a page with figures."""
MUTED = {"light": "#57606a", "dark": "#9aa4af"}
LINK = {"light": "#0b5cad", "dark": "#6cb6ff"}
PANEL = {"light": "#f3f5f7", "dark": "#161b22"}
HEIGHT = 400
"""Default height of a figure, in CSS pixels."""


def template(ground: str = "light") -> Any:
    """Return plotly's template for a light or a dark ground; its own background is transparent."""
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


def empty_figure(x: str, y: str, *, height: int = HEIGHT) -> Any:
    """Return a figure without traces, with these titles of its axes."""
    import plotly.graph_objects as go

    figure = go.Figure(layout={"template": template(), "height": height})
    figure.update_xaxes(title_text=x)
    figure.update_yaxes(title_text=y)
    return figure


def log_axis(values: Sequence[float], named: Sequence[int] = (1, 2, 5)) -> dict[str, Any]:
    """Return plotly's logarithmic axis for these values, with ticks at `named` × each power of ten."""
    decades = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    ticks = [m * 10.0**d for d in decades for m in (named if len(decades) < 5 else (1,))]
    return {"type": "log", "tickvals": ticks, "ticktext": [_tick(t) for t in ticks]}


def _tick(value: float) -> str:
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:g}{unit}"
    return f"{value:g}"


def corner_note(figure: Any, text: str) -> None:
    """Write a text into a figure's upper left corner."""
    place = {"xref": "paper", "yref": "paper", "x": 0.01, "xanchor": "left", "y": 0.99, "yanchor": "top"}
    figure.add_annotation(text=text, showarrow=False, align="left", **place)
