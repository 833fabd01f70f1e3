"""The figures of what was confirmed: every configuration with its interval, and what its proxy had foretold."""

from collections.abc import Sequence
from typing import Any

from search.analysis.snapshot import Snapshot
from search.show.figures.style import BASELINE, FOUND, RANDOM, empty, note
from search.show.wording import counted, ordinal
from search.study.results import Confirmed
from search.study.trials import attributes_of

MOST = 30
"""Configurations that one figure can name."""
LOOKS = {
    "hand-made baseline": (BASELINE, "diamond"),
    "among the best proxies": (FOUND, "circle"),
    "drawn at random": (RANDOM, "square"),
    "entered later": ("#E69F00", "triangle-up"),
}
"""Ways into the race, each with its colour and its symbol."""
_KINDS = {"top": "among the best proxies", "random": "drawn at random"}


def way_in(c: Confirmed) -> str:
    """Return how a configuration came to be confirmed, one of `LOOKS`."""
    if c.baseline:
        return "hand-made baseline"
    return _KINDS.get(attributes_of(c.runs[0]).kind or "top", "entered later")


def _by_way(found: Sequence[Confirmed]) -> list[tuple[str, list[Confirmed]]]:
    groups = [(way, [c for c in found if way_in(c) == way]) for way in LOOKS]
    return [(way, group) for way, group in groups if group]


def _halves(facts: Snapshot, group: Sequence[Confirmed]) -> list[float | None]:
    return [facts.noise.half_width(c.seeds) for c in group]


def _bars(halves: Sequence[float | None], colour: str) -> dict[str, Any]:
    return {"type": "data", "array": [h or 0 for h in halves], "thickness": 1.5, "width": 4, "color": colour}


def draw_leaderboard(facts: Snapshot) -> Any:
    """Return the confirmed configurations, the best on top: mean with its interval, each seed as a dot."""
    found = facts.confirmed[:MOST]
    if not found:
        return None
    drawn = empty(f"validation BPB after {facts.plan.confirm.budget}", "", height=120 + 34 * len(found))
    for way, group in _by_way(found):
        colour, symbol = LOOKS[way]
        halves = _halves(facts, group)
        drawn.add_scatter(
            x=[c.mean_bpb for c in group],
            y=[c.label for c in group],
            error_x=_bars(halves, colour),
            name=way,
            mode="markers",
            marker={"symbol": symbol, "color": colour, "size": 11},
            text=[f"± {h:.4f}" if h is not None else "no interval yet" for h in halves],
            hovertemplate="%{y}: %{x:.4f} %{text}<extra></extra>",
        )
    _seeds(drawn, found)
    baselines = [c for c in found if c.baseline]
    if baselines:
        drawn.add_vline(x=baselines[0].mean_bpb, line={"color": BASELINE, "dash": "dot", "width": 1})
    order = [c.label for c in reversed(found)]
    drawn.update_yaxes(categoryorder="array", categoryarray=order, range=[-0.6, len(order) - 0.4])
    drawn.update_layout(meta={"narrow": {"xaxis.title.text": f"BPB after {facts.plan.confirm.budget}"}})
    return drawn


def _seeds(drawn: Any, found: Sequence[Confirmed]) -> None:
    pairs = [(c.label, seed, bpb) for c in found for seed, bpb in c.bpb_by_seed.items()]
    drawn.add_scatter(
        x=[bpb for _, _, bpb in pairs],
        y=[label for label, _, _ in pairs],
        name="a single seed",
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 13, "color": "#8a8a8a", "line": {"width": 1.5}},
        text=[f"seed {seed}" for _, seed, _ in pairs],
        hovertemplate="%{y}, %{text}: %{x:.4f}<extra></extra>",
    )


def say_leaderboard(facts: Snapshot) -> str:
    """Return how many were confirmed, with how many runs, and what the intervals are made of."""
    found, noise = facts.confirmed, facts.noise
    runs = sum(c.seeds for c in found)
    said = f"{counted(len(found), 'configuration')}, {counted(runs, 'run')} of {facts.plan.confirm.budget}."
    if len(found) > MOST:
        said = f"The best {MOST} of {said}"
    if noise.deviation is None:
        return f"{said} No configuration ran with two seeds yet, so that there are no intervals."
    return (
        f"{said} Runs of one configuration differ by {noise.deviation:.4f} BPB from seed to seed (standard deviation)."
    )


def draw_transfer(facts: Snapshot) -> Any:
    """Return confirmed BPB by proxy BPB, every configuration named, with τ."""
    pairs = [c for c in facts.confirmed if c.proxy_bpb is not None]
    if len(pairs) < 2:
        return None
    proxy, confirm = facts.plan.proxy.budget, facts.plan.confirm.budget
    drawn = empty(
        f"validation BPB of the proxy, after {proxy}", f"validation BPB, confirmed, after {confirm}", height=460
    )
    named = {id(c) for c in pairs[:MOST]}
    for way, group in _by_way(pairs):
        colour, symbol = LOOKS[way]
        drawn.add_scatter(
            x=[c.proxy_bpb for c in group],
            y=[c.mean_bpb for c in group],
            error_y=_bars(_halves(facts, group), colour),
            name=way,
            mode="markers+text",
            text=[_short(c) if id(c) in named else "" for c in group],
            textposition="middle right",
            marker={"symbol": symbol, "color": colour, "size": 11},
            customdata=[c.label for c in group],
            hovertemplate="%{customdata}: proxy %{x:.4f}, confirmed %{y:.4f}<extra></extra>",
            cliponaxis=False,
        )
    _room(drawn, [c.proxy_bpb for c in pairs if c.proxy_bpb is not None], [c.mean_bpb for c in pairs])
    note(drawn, _tau(facts))
    return drawn


def _short(c: Confirmed) -> str:
    return f"  {c.baseline or c.proxy_number}"


def _room(drawn: Any, x: Sequence[float], y: Sequence[float]) -> None:
    """Leave room on the right for names, and above for τ."""
    across, up = max(x) - min(x) or 0.1, max(y) - min(y) or 0.1
    drawn.update_xaxes(range=[min(x) - 0.08 * across, max(x) + 0.2 * across])
    drawn.update_yaxes(range=[min(y) - 0.12 * up, max(y) + 0.4 * up])


def _tau(facts: Snapshot) -> str:
    found = facts.transfer
    if found.tau is None or found.low is None or found.high is None:
        return f"{found.pairs} pairs: too few for τ (5 are needed)"
    return f"Kendall's τ = {found.tau:.2f}<br>95% interval {found.low:.2f} … {found.high:.2f}<br>{found.pairs} pairs"


def say_transfer(facts: Snapshot) -> str:
    """Return what the figure's order says of the winner."""
    pairs = [c for c in facts.confirmed if c.proxy_bpb is not None]
    if len(pairs) < 2:
        return ""
    order = sorted(pairs, key=lambda c: c.proxy_bpb or 0.0)
    first = order[0]
    place = pairs.index(first) + 1
    return f"The best of these {len(pairs)} by proxy, {first.label}, is {ordinal(place)} when confirmed."
