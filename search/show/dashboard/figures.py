"""Figures for optuna-dashboard, which loads them again every few seconds, so that they must be small.

Its own background is light or dark, and it draws figures unchanged, so that they need a background of their own.
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
"""Background of the figures."""
HEIGHT = 450
"""Height of the dashboard's frame around a figure, in CSS pixels."""
TITLE = {"x": 0.02, "xanchor": "left", "y": 0.95, "yanchor": "middle"}
LINE_CHARACTERS = 28
"""Most characters in a line of a title."""
NAME_CHARACTERS = 22
"""Most characters of a configuration's name beside an axis, since a figure gets only half the page."""


def saved_figures(snapshot: Snapshot) -> dict[str, Any]:
    """Return the figures to be stored, by name; those that can't be drawn yet are left out."""
    figures = {name: PICTURES[name].draw(snapshot) for name in NAMES}
    return {name: fitted(figure, PICTURES[name].title) for name, figure in figures.items() if figure is not None}


def fitted(figure: Any, title: str) -> Any:
    """Return a copy of a figure for the dashboard's frame, with its title, a background and rounded numbers."""
    import plotly.graph_objects as go

    figure_copy = go.Figure(_rounded(json.loads(figure.to_json())), skip_invalid=False)
    figure_copy.update_layout(
        template=template("light"),
        title={"text": _wrapped(title), "font": {"size": 14}, **TITLE},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": -0.26, "yanchor": "top", "font": {"size": 11}},
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={"color": INK["light"], "size": 12},
        height=HEIGHT,
        margin={"t": 50, "l": 10, "r": 15, "b": 10},
    )
    figure_copy.for_each_xaxis(lambda axis: axis.update(title_text=_wrapped(axis.title.text or "")))
    names = {y for trace in figure_copy.data for y in trace.y or () if isinstance(y, str)}
    figure_copy.update_yaxes(labelalias={y: y[: NAME_CHARACTERS - 1] + "…" for y in names if len(y) > NAME_CHARACTERS})
    return figure_copy


def _wrapped(text: str) -> str:
    return "<br>".join(textwrap.wrap(text, LINE_CHARACTERS))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value
