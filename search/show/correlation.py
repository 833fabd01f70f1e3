"""The figure of the pruner's gate: correlation by progress with its bound, and where trials were pruned."""

from typing import Any

from optuna.trial import TrialState

from search.show.facts import Facts
from search.show.theme import COLOURS, PRUNED, template

FEWEST = 4
"""Below so many pairs the bound says nothing."""


def draw_correlation(facts: Facts) -> Any:
    """Return Spearman's ρ by progress with its 90% lower bound, the gate's proof, and a mark for each prune."""
    import plotly.graph_objects as go

    shown = [r for r in facts.relations if r.n >= FEWEST]
    if not shown:
        return None
    x = [r.step for r in shown]
    drawn = go.Figure(layout={"template": template()})
    lines = (
        ("ρ over all finished", [r.correlation for r in shown], "solid"),
        ("its 90% lower bound", [r.bound for r in shown], "dot"),
        ("proof by the good ones (probability)", [r.proof for r in shown], "dash"),
    )
    for colour, (name, y, dash) in zip(COLOURS, lines, strict=False):
        drawn.add_scatter(x=x, y=y, name=name, mode="lines+markers", line={"dash": dash, "color": colour})
    pruned = [t.last_step for t in facts.proxies if t.state == TrialState.PRUNED]
    drawn.add_scatter(
        x=pruned,
        y=[0.0] * len(pruned),
        name="a proxy pruned",
        mode="markers",
        marker={"symbol": "x", "color": PRUNED, "size": 9},
    )
    drawn.update_xaxes(title="progress, % of the budget", range=[0, 100])
    drawn.update_yaxes(title="Spearman's ρ; probability", range=[-1.05, 1.05])
    return drawn
