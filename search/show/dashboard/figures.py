"""Figures as optuna-dashboard keeps them in a study: small, since it loads them again every few seconds.

It draws them as they are, on its own ground, light or dark, so that they bring a paper of their own.
"""

import json
import textwrap
from collections.abc import Mapping
from typing import Any

from search.analysis.snapshot import Snapshot
from search.show.figures.gallery import PICTURES
from search.show.figures.style import INK, template

NAMES = ("leaderboard", "transfer", "correlation")
DIGITS = 5
"""Significant digits of a number in a figure: finer than a pixel."""
PAPER = "#f6f8fa"
HEIGHT = 450
"""Of the dashboard's frame around a figure, in CSS pixels."""
TITLE = {"x": 0.02, "xanchor": "left", "y": 0.95, "yanchor": "middle"}
MOST_IN_A_LINE = 28
MOST_LETTERS = 22
"""Of a configuration's name beside an axis: half the page is all that a figure gets."""


def saved_figures(facts: Snapshot) -> dict[str, Any]:
    """Return the figures to be saved, by name; one that there is nothing to draw of yet is left out."""
    drawn = {name: PICTURES[name].draw(facts) for name in NAMES}
    return {name: fitted(figure, PICTURES[name].title) for name, figure in drawn.items() if figure is not None}


def fitted(figure: Any, title: str) -> Any:
    """Return a figure for the dashboard's frame: with its title, on paper of its own, its numbers rounded."""
    import plotly.graph_objects as go

    slim = go.Figure(_rounded(json.loads(figure.to_json())), skip_invalid=False)
    slim.update_layout(
        template=template("light"),
        title={"text": _wrapped(title), "font": {"size": 14}, **TITLE},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": -0.26, "yanchor": "top", "font": {"size": 11}},
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={"color": INK["light"], "size": 12},
        height=HEIGHT,
        margin={"t": 50, "l": 10, "r": 15, "b": 10},
    )
    slim.for_each_xaxis(lambda axis: axis.update(title_text=_wrapped(axis.title.text or "")))
    names = {y for trace in slim.data for y in trace.y or () if isinstance(y, str)}
    slim.update_yaxes(labelalias={y: y[: MOST_LETTERS - 1] + "…" for y in names if len(y) > MOST_LETTERS})
    return slim


def _wrapped(text: str) -> str:
    return "<br>".join(textwrap.wrap(text, MOST_IN_A_LINE))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value
