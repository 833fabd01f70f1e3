"""The figure of a sweep of ideas: BPB beside the plain configuration, speed and size, with a verdict for each."""

from collections.abc import Sequence
from typing import Any

from search.analysis.ideas import Comparison, Verdict, compared, summary
from search.analysis.snapshot import Snapshot
from search.show.figures.style import BASELINE, BEST, PRUNED, template
from search.study.trials import N_PARAMS

STYLES = {
    Verdict.HELPS: (BEST, "circle"),
    Verdict.HURTS: (BASELINE, "square"),
    Verdict.CANT_TELL: (PRUNED, "diamond"),
}
"""Colour and symbol of each verdict."""


def draw_ideas(snapshot: Snapshot) -> Any:
    """Return the figure, the ideas in the study file's order; None before the plain configuration and an idea ran."""
    if not snapshot.plan.ideas:
        return None
    from plotly.subplots import make_subplots

    comparisons = compared(snapshot.plan, snapshot.proxies)
    ideas = [c for c in comparisons.ideas if c.difference is not None]
    if not ideas:
        return None
    figure = make_subplots(rows=1, cols=3, shared_yaxes=True, column_widths=[0.5, 0.25, 0.25], horizontal_spacing=0.04)
    figure.update_layout(template=template(), height=160 + 44 * len(ideas))
    for verdict in STYLES:
        if group := [c for c in ideas if c.verdict is verdict]:
            _add(figure, group, verdict)
    plain_size = comparisons.plain.means.get(N_PARAMS)
    ends = (0.0, 1.0, plain_size.value / 1e6 if plain_size else None)
    for column, end in enumerate(ends, start=1):
        if end is not None:
            figure.add_vline(x=end, line={"dash": "dot", "width": 1, "color": PRUNED}, row=1, col=column)
    order = [_label(c) for c in reversed(ideas)]
    figure.update_yaxes(categoryorder="array", categoryarray=order, range=[-0.6, len(order) - 0.4])
    titles = (f"BPB − plain after {snapshot.plan.proxy.budget}", "tokens/s ÷ plain's", "parameters, millions")
    for column, title in enumerate(titles, start=1):
        figure.update_xaxes(title=title, row=1, col=column)
    return figure


def _label(each: Comparison) -> str:
    return f"{each.name}<br>{each.sentence}"


def _add(figure: Any, group: Sequence[Comparison], verdict: Verdict) -> None:
    """Draw the ideas of one verdict in all panels."""
    colour, symbol = STYLES[verdict]
    halves = [c.half_width for c in group]
    bars = {"type": "data", "array": halves, "thickness": 1.5, "width": 4} if any(halves) else None
    measures = ([c.difference for c in group], [c.speed for c in group], [c.parameters for c in group])
    for column, (values, unit) in enumerate(zip(measures, (1.0, 1.0, 1e6), strict=True), start=1):
        figure.add_scatter(
            x=[None if value is None else value / unit for value in values],
            y=[_label(c) for c in group],
            error_x=bars if column == 1 else None,
            name=verdict.value,
            legendgroup=verdict.value,
            showlegend=column == 1,
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 10},
            hovertemplate="%{y}: %{x:.5~g}<extra></extra>",
            row=1,
            col=column,
        )


def describe_ideas(snapshot: Snapshot) -> str:
    """Return the verdicts in a sentence or two; empty for a study without ideas."""
    return summary(compared(snapshot.plan, snapshot.proxies)) if snapshot.plan.ideas else ""
