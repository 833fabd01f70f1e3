"""How our figures look: colours that colour-blind people tell apart, on a ground that suits light and dark pages."""

from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
"""Okabe & Ito's colours (jfly.uni-koeln.de/color), without the yellow and black that one of two grounds swallows."""
PRUNED, BASELINE, BEST = "#999999", "#D55E00", "#009E73"
INK = {"light": "#1f2328", "dark": "#e6edf3"}
GRID = {"light": "#d8dee4", "dark": "#3d444d"}


def template(ground: str = "light") -> Any:
    """Return plotly's template for a light or a dark ground; the paper itself is left clear."""
    import plotly.graph_objects as go

    axis = {"gridcolor": GRID[ground], "linecolor": GRID[ground], "zeroline": False, "automargin": True}
    return go.layout.Template(
        layout={
            "colorway": COLOURS,
            "font": {"color": INK[ground], "size": 13, "family": "system-ui, sans-serif"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"orientation": "h", "y": -0.25},
            "margin": {"l": 60, "r": 20, "t": 40, "b": 50},
        }
    )
