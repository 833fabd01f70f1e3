"""The figures of confirmed configurations: their BPB with intervals, and how well proxies predicted it."""

from collections.abc import Sequence
from typing import Any

from search.analysis.snapshot import Snapshot
from search.show.figures.style import BASELINE, RANDOM, SEARCHED, corner_note, empty_figure
from search.show.wording import counted, ordinal
from search.study.results import Confirmed
from search.study.trials import attributes_of

MOST_NAMED = 30
"""Most configurations that a figure names."""
ROUTE_STYLES = {
    "hand-made baseline": (BASELINE, "diamond"),
    "among the best proxies": (SEARCHED, "circle"),
    "drawn at random": (RANDOM, "square"),
    "entered later": ("#E69F00", "triangle-up"),
}
"""Colour and symbol for each way in which a configuration can enter the race."""
_ROUTES = {"top": "among the best proxies", "random": "drawn at random"}


def entry_route(c: Confirmed) -> str:
    """Return the way in which a configuration entered the race, a key of `ROUTE_STYLES`."""
    if c.baseline:
        return "hand-made baseline"
    return _ROUTES.get(attributes_of(c.runs[0]).kind or "top", "entered later")


def _by_route(configurations: Sequence[Confirmed]) -> list[tuple[str, list[Confirmed]]]:
    groups = [(route, [c for c in configurations if entry_route(c) == route]) for route in ROUTE_STYLES]
    return [(route, group) for route, group in groups if group]


def _half_widths(snapshot: Snapshot, group: Sequence[Confirmed]) -> list[float | None]:
    return [snapshot.estimates[c.key].half_width for c in group]


def _error_bars(halves: Sequence[float | None], colour: str) -> dict[str, Any]:
    return {"type": "data", "array": [h or 0 for h in halves], "thickness": 1.5, "width": 4, "color": colour}


def _stated(snapshot: Snapshot, group: Sequence[Confirmed]) -> list[float]:
    return [snapshot.estimates[c.key].bpb for c in group]


def draw_leaderboard(snapshot: Snapshot) -> Any:
    """Return the figure of the confirmed configurations, the best on top: estimates, their intervals, every seed."""
    configurations = snapshot.confirmed[:MOST_NAMED]
    if not configurations:
        return None
    figure = empty_figure(
        f"validation BPB after {snapshot.plan.confirm.budget}", "", height=120 + 34 * len(configurations)
    )
    for route, group in _by_route(configurations):
        colour, symbol = ROUTE_STYLES[route]
        half_widths = _half_widths(snapshot, group)
        figure.add_scatter(
            x=_stated(snapshot, group),
            y=[c.label for c in group],
            error_x=_error_bars(half_widths, colour),
            name=route,
            mode="markers",
            marker={"symbol": symbol, "color": colour, "size": 11},
            text=[f"± {h:.4f}" if h is not None else "no interval yet" for h in half_widths],
            hovertemplate="%{y}: %{x:.4f} %{text}<extra></extra>",
        )
    _add_seeds(figure, configurations)
    baselines = [c for c in configurations if c.baseline]
    if baselines:
        figure.add_vline(x=_stated(snapshot, baselines)[0], line={"color": BASELINE, "dash": "dot", "width": 1})
    order = [c.label for c in reversed(configurations)]
    figure.update_yaxes(categoryorder="array", categoryarray=order, range=[-0.6, len(order) - 0.4])
    figure.update_layout(meta={"narrow": {"xaxis.title.text": f"BPB after {snapshot.plan.confirm.budget}"}})
    return figure


def _add_seeds(figure: Any, configurations: Sequence[Confirmed]) -> None:
    pairs = [(c.label, seed, bpb) for c in configurations for seed, bpb in c.bpb_by_seed.items()]
    figure.add_scatter(
        x=[bpb for _, _, bpb in pairs],
        y=[label for label, _, _ in pairs],
        name="a single seed",
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 13, "color": "#8a8a8a", "line": {"width": 1.5}},
        text=[f"seed {seed}" for _, seed, _ in pairs],
        hovertemplate="%{y}, %{text}: %{x:.4f}<extra></extra>",
    )


def describe_leaderboard(snapshot: Snapshot) -> str:
    """Return the numbers of confirmed configurations and runs, and the noise that the intervals come from."""
    configurations, noise = snapshot.confirmed, snapshot.noise
    runs = sum(c.seeds for c in configurations)
    text = f"{counted(len(configurations), 'configuration')}, {counted(runs, 'run')} of {snapshot.plan.confirm.budget}."
    if len(configurations) > MOST_NAMED:
        text = f"The best {MOST_NAMED} of {text}"
    if noise.deviation is None:
        return f"{text} No configuration ran with two seeds yet, so that there are no intervals."
    return (
        f"{text} Runs of one configuration differ by {noise.deviation:.4f} BPB from seed to seed (standard deviation)."
    )


def draw_transfer(snapshot: Snapshot) -> Any:
    """Return the figure of confirmed BPB by proxy BPB, with configurations' names and τ."""
    pairs = [c for c in snapshot.confirmed if c.proxy_bpb is not None]
    if len(pairs) < 2:
        return None
    proxy, confirm = snapshot.plan.proxy.budget, snapshot.plan.confirm.budget
    figure = empty_figure(
        f"validation BPB of the proxy, after {proxy}", f"validation BPB, confirmed, after {confirm}", height=460
    )
    labelled = {id(c) for c in pairs[:MOST_NAMED]}
    for route, group in _by_route(pairs):
        colour, symbol = ROUTE_STYLES[route]
        figure.add_scatter(
            x=[c.proxy_bpb for c in group],
            y=_stated(snapshot, group),
            error_y=_error_bars(_half_widths(snapshot, group), colour),
            name=route,
            mode="markers+text",
            text=[_point_name(c) if id(c) in labelled else "" for c in group],
            textposition="middle right",
            marker={"symbol": symbol, "color": colour, "size": 11},
            customdata=[c.label for c in group],
            hovertemplate="%{customdata}: proxy %{x:.4f}, confirmed %{y:.4f}<extra></extra>",
            cliponaxis=False,
        )
    _leave_room(figure, [c.proxy_bpb for c in pairs if c.proxy_bpb is not None], _stated(snapshot, pairs))
    corner_note(figure, _tau_text(snapshot))
    return figure


def _point_name(c: Confirmed) -> str:
    return f"  {c.baseline or c.proxy_number}"


def _leave_room(figure: Any, x: Sequence[float], y: Sequence[float]) -> None:
    """Set the axes' ranges with room for names on the right, and for τ above."""
    across, up = max(x) - min(x) or 0.1, max(y) - min(y) or 0.1
    figure.update_xaxes(range=[min(x) - 0.08 * across, max(x) + 0.2 * across])
    figure.update_yaxes(range=[min(y) - 0.12 * up, max(y) + 0.4 * up])


def _tau_text(snapshot: Snapshot) -> str:
    transfer = snapshot.transfer
    if transfer.tau is None or transfer.low is None or transfer.high is None:
        return f"{transfer.pairs} pairs: too few for τ (5 are needed)"
    interval = f"95% interval {transfer.low:.2f} … {transfer.high:.2f}"
    return f"Kendall's τ = {transfer.tau:.2f}<br>{interval}<br>{transfer.pairs} pairs"


def describe_transfer(snapshot: Snapshot) -> str:
    """Return which place the best by proxy has among the confirmed."""
    pairs = [c for c in snapshot.confirmed if c.proxy_bpb is not None]
    if len(pairs) < 2:
        return ""
    order = sorted(pairs, key=lambda c: c.proxy_bpb or 0.0)
    first = order[0]
    place = pairs.index(first) + 1
    return f"The best of these {len(pairs)} by proxy, {first.label}, is {ordinal(place)} when confirmed."
