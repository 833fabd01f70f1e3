"""The figure of the pruner's gate: what losses so far say of final ones, and where proxies were pruned."""

from collections import Counter
from typing import Any

from optuna.trial import TrialState

from search.analysis.pruning_summary import is_open, open_from
from search.analysis.snapshot import Snapshot
from search.show.figures.style import BASELINE, BEST, FOUND, PRUNED, template

FEWEST = 4
"""Below so many pairs the bound says nothing."""


def draw_correlation(facts: Snapshot) -> Any:
    """Return Spearman's ρ by progress with its bound and the gate's proof; below, how many were pruned where."""
    from plotly.subplots import make_subplots

    shown = [r for r in facts.relations if r.n >= FEWEST]
    if not shown:
        return None
    drawn = make_subplots(rows=2, shared_xaxes=True, row_heights=[0.78, 0.22], vertical_spacing=0.06)
    drawn.update_layout(template=template(), height=460)
    lines = (
        ("ρ over all finished proxies", [r.correlation for r in shown], "solid", "circle", FOUND),
        ("ρ is above this (90% sure)", [r.bound for r in shown], "dot", "triangle-up", BASELINE),
        ("sureness that the loss says something of the best", [r.proof for r in shown], "dash", "square", BEST),
    )
    for name, y, dash, symbol, colour in lines:
        drawn.add_scatter(
            x=[r.step for r in shown],
            y=y,
            name=name,
            mode="lines+markers",
            line={"dash": dash, "color": colour},
            marker={"symbol": symbol},
            row=1,
            col=1,
        )
    _shade(drawn, facts)
    _prunes(drawn, facts)
    lowest = min(0.0, *(r.bound for r in shown), *(r.correlation for r in shown))
    drawn.update_xaxes(range=[0, 100])
    drawn.update_xaxes(title="progress, % of the proxy's budget", row=2, col=1)
    drawn.update_yaxes(title="ρ or probability", range=[max(-1.05, lowest - 0.05), 1.05], row=1, col=1)
    drawn.update_yaxes(title="pruned", rangemode="tozero", row=2, col=1)
    return drawn


def _shade(drawn: Any, facts: Snapshot) -> None:
    """Shade where the gate is open: losses are proven to say something of the best runs' end."""
    opened = open_from(facts.relations, facts.pruner.needed)
    if opened is not None:
        drawn.add_vrect(x0=opened, x1=facts.relations[-1].step, fillcolor=BEST, opacity=0.1, line_width=0)
        drawn.add_annotation(x=opened, y=0.02, yref="y domain", text="gate open →", showarrow=False, xanchor="left")


def _prunes(drawn: Any, facts: Snapshot) -> None:
    where = prunes(facts)
    steps = sorted(where)
    drawn.add_bar(
        x=steps,
        y=[where[s] for s in steps],
        name="proxies pruned",
        marker={"color": PRUNED, "pattern": {"shape": "/"}},
        width=2.5,
        showlegend=False,
        row=2,
        col=1,
    )


def prunes(facts: Snapshot) -> Counter[int]:
    """Return how many proxies were pruned at each percent of progress."""
    return Counter(t.last_step or 0 for t in facts.proxies if t.state == TrialState.PRUNED)


def say_correlation(facts: Snapshot) -> str:
    """Return where the gate is open, and how many were pruned."""
    opened, pruned = open_from(facts.relations, facts.pruner.needed), prunes(facts)
    count = sum(is_open(r, facts.pruner.needed) for r in facts.relations)
    where = "It is nowhere proven" if not count else f"At {count} of {len(facts.relations)} reports it is proven"
    where = where if opened is None else f"From {opened}% of the budget on it is proven"
    gate = f"{where} (95%) that the loss so far says something of the best runs' end"
    if not pruned:
        return f"{gate}; nothing was pruned."
    first, last = min(pruned), max(pruned)
    span = f"at {first}%" if first == last else f"between {first}% and {last}%"
    return f"{gate}; {sum(pruned.values())} of {len(facts.proxies)} proxies were pruned, {span}."
