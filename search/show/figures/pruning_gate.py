"""The figure of the pruner's gate: how well losses at each report predict final ones, and where proxies were pruned."""

from collections import Counter
from typing import Any

from optuna.trial import TrialState

from search.analysis.pruning_summary import is_open, open_from
from search.analysis.snapshot import Snapshot
from search.show.figures.style import BASELINE, BEST, PRUNED, SEARCHED, template

FEWEST_PAIRS = 4
"""Least number of pairs for a lower bound of ρ."""


def draw_correlation(snapshot: Snapshot) -> Any:
    """Return the figure of Spearman's ρ by progress, its bound and the gate's proof, with numbers of pruned below."""
    from plotly.subplots import make_subplots

    relations = [r for r in snapshot.relations if r.n >= FEWEST_PAIRS]
    if not relations:
        return None
    figure = make_subplots(rows=2, shared_xaxes=True, row_heights=[0.78, 0.22], vertical_spacing=0.06)
    figure.update_layout(template=template(), height=460)
    lines = (
        ("ρ over all finished proxies", [r.correlation for r in relations], "solid", "circle", SEARCHED),
        ("ρ is above this (90% sure)", [r.bound for r in relations], "dot", "triangle-up", BASELINE),
        ("sureness that the loss says something of the best", [r.proof for r in relations], "dash", "square", BEST),
    )
    for name, y, dash, symbol, colour in lines:
        figure.add_scatter(
            x=[r.step for r in relations],
            y=y,
            name=name,
            mode="lines+markers",
            line={"dash": dash, "color": colour},
            marker={"symbol": symbol},
            row=1,
            col=1,
        )
    _shade(figure, snapshot)
    _add_pruned(figure, snapshot)
    lowest = min(0.0, *(r.bound for r in relations), *(r.correlation for r in relations))
    figure.update_xaxes(range=[0, 100])
    figure.update_xaxes(title="progress, % of the proxy's budget", row=2, col=1)
    figure.update_yaxes(title="ρ or probability", range=[max(-1.05, lowest - 0.05), 1.05], row=1, col=1)
    figure.update_yaxes(title="pruned", rangemode="tozero", row=2, col=1)
    return figure


def _shade(figure: Any, snapshot: Snapshot) -> None:
    """Shade the progress at which the gate is open, where losses are proven to predict the best runs' end."""
    opened = open_from(snapshot.relations, snapshot.pruner.needed)
    if opened is not None:
        figure.add_vrect(x0=opened, x1=snapshot.relations[-1].step, fillcolor=BEST, opacity=0.1, line_width=0)
        figure.add_annotation(x=opened, y=0.02, yref="y domain", text="gate open →", showarrow=False, xanchor="left")


def _add_pruned(figure: Any, snapshot: Snapshot) -> None:
    where = pruned_by_step(snapshot)
    steps = sorted(where)
    figure.add_bar(
        x=steps,
        y=[where[s] for s in steps],
        name="proxies pruned",
        marker={"color": PRUNED, "pattern": {"shape": "/"}},
        width=2.5,
        showlegend=False,
        row=2,
        col=1,
    )


def pruned_by_step(snapshot: Snapshot) -> Counter[int]:
    """Return the number of proxies pruned at each percent of progress."""
    return Counter(t.last_step or 0 for t in snapshot.proxies if t.state == TrialState.PRUNED)


def describe_correlation(snapshot: Snapshot) -> str:
    """Return at which progress the gate is open, and how many proxies were pruned."""
    opened, pruned = open_from(snapshot.relations, snapshot.pruner.needed), pruned_by_step(snapshot)
    count = sum(is_open(r, snapshot.pruner.needed) for r in snapshot.relations)
    where = "It is nowhere proven" if not count else f"At {count} of {len(snapshot.relations)} reports it is proven"
    where = where if opened is None else f"From {opened}% of the budget on it is proven"
    gate = f"{where} (95%) that the loss so far says something of the best runs' end"
    if not pruned:
        return f"{gate}; nothing was pruned."
    first, last = min(pruned), max(pruned)
    interval = f"at {first}%" if first == last else f"between {first}% and {last}%"
    return f"{gate}; {sum(pruned.values())} of {len(snapshot.proxies)} proxies were pruned, {interval}."
