"""The figures of size and speed: tokens per parameter by depth, throughput by size, latent projections."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search.analysis.snapshot import Snapshot
from search.show.figures.style import BASELINE, BEST, FOUND, RANDOM, SCALE, empty, frame_top, log_axis, template
from search.show.wording import joined
from search.study.trials import N_PARAMS, TOKENS, TOKENS_PER_SECOND, final_budget, finished


def _measured(facts: Snapshot) -> list[FrozenTrial]:
    return [t for t in finished(list(facts.proxies)) if {N_PARAMS, TOKENS} <= t.user_attrs.keys()]


def _of(facts: Snapshot, trial: FrozenTrial, name: str) -> Any:
    """Return a setting's value in a trial, searched or fixed."""
    return trial.params.get(name, facts.plan.fixed().get(name))


def draw_depth(facts: Snapshot) -> Any:
    """Return tokens per parameter by the number of blocks, finished proxies coloured by their BPB."""
    trials = _measured(facts)
    depths = [_of(facts, t, "n_layer") for t in trials]
    if len(set(depths)) < 2:
        return None
    drawn = empty("depth, transformer blocks", f"tokens per parameter in {facts.plan.proxy.budget} (log scale)")
    drawn.add_scatter(
        x=depths,
        y=[t.user_attrs[TOKENS] / t.user_attrs[N_PARAMS] for t in trials],
        mode="markers",
        showlegend=False,
        marker={
            "color": [t.value for t in trials],
            "colorscale": SCALE,
            "cmax": frame_top([t.value or 0.0 for t in trials]),
            "cmin": min(t.value or 0.0 for t in trials),
            "size": 11,
            "line": {"width": 1, "color": "#808080"},
            "colorbar": {"title": {"text": "BPB"}, "thickness": 14},
        },
        text=[f"trial {t.number}: {t.value:.4f} BPB" for t in trials],
        hovertemplate="%{text}<br>%{x} blocks, %{y:.3g} tokens per parameter<extra></extra>",
    )
    _ring(drawn, facts, trials, depths)
    drawn.update_yaxes(**log_axis([t.user_attrs[TOKENS] / t.user_attrs[N_PARAMS] for t in trials]))
    drawn.update_xaxes(dtick=1 if max(depths) <= 16 else None)
    return drawn


def _ring(drawn: Any, facts: Snapshot, trials: Sequence[FrozenTrial], depths: Sequence[int]) -> None:
    """Ring the three best, so that colour isn't all that tells them."""
    order = np.argsort([t.value or 0.0 for t in trials])[:3]
    drawn.add_scatter(
        x=[depths[i] for i in order],
        y=[trials[i].user_attrs[TOKENS] / trials[i].user_attrs[N_PARAMS] for i in order],
        mode="markers",
        name="the three best",
        marker={"symbol": "circle-open", "size": 19, "color": BASELINE, "line": {"width": 2}},
        hoverinfo="skip",
    )


def say_depth(facts: Snapshot) -> str:
    """Return what the best proxies had."""
    best = sorted(_measured(facts), key=lambda t: t.value or 0.0)[:3]
    depths = [str(_of(facts, t, "n_layer")) for t in best]
    ratios = [f"{t.user_attrs[TOKENS] / t.user_attrs[N_PARAMS]:.3g}" for t in best]
    if len(best) < 3:
        return ""
    if len(set(depths)) == 1:
        blocks = f"{depths[0]} block{'s' if depths[0] != '1' else ''}"
        return f"The three best proxies have {blocks} each and saw {joined(ratios)} tokens for each parameter."
    return f"The three best proxies have {joined(depths)} blocks and saw {joined(ratios)} tokens for each parameter."


def draw_speed(facts: Snapshot) -> Any:
    """Return tokens a second by parameters, proxies and long runs."""
    long = [r for r in finished(list(facts.runs)) if final_budget(facts.plan, r)]
    groups = (("proxies", _measured(facts), "circle-open", FOUND), ("long runs", long, "diamond", BEST))
    known = [
        (name, [t for t in trials if {N_PARAMS, TOKENS_PER_SECOND} <= t.user_attrs.keys()], symbol, colour)
        for name, trials, symbol, colour in groups
    ]
    if sum(len(trials) for _, trials, _, _ in known) < 2:
        return None
    drawn = empty("parameters (log scale)", "training throughput, tokens/s (log scale)")
    for name, trials, symbol, colour in known:
        if trials:
            drawn.add_scatter(
                x=[t.user_attrs[N_PARAMS] for t in trials],
                y=[t.user_attrs[TOKENS_PER_SECOND] for t in trials],
                name=name,
                mode="markers",
                marker={"symbol": symbol, "color": colour, "size": 9},
                text=[f"{t.number}: {t.value:.4f} BPB" for t in trials],
                hovertemplate="%{text}<br>%{x:,} parameters, %{y:,} tokens/s<extra></extra>",
            )
    every = [t for _, trials, _, _ in known for t in trials]
    drawn.update_xaxes(**log_axis([t.user_attrs[N_PARAMS] for t in every]))
    drawn.update_yaxes(**log_axis([t.user_attrs[TOKENS_PER_SECOND] for t in every]))
    return drawn


def say_speed(facts: Snapshot) -> str:
    """Return the range of throughputs."""
    rates = [t.user_attrs[TOKENS_PER_SECOND] for t in _measured(facts) if TOKENS_PER_SECOND in t.user_attrs]
    return f"Proxies trained at {min(rates):,.0f} to {max(rates):,.0f} tokens/s." if rates else ""


PANELS = (
    ("tokens/s", TOKENS_PER_SECOND, 1.0),
    ("tokens, millions", TOKENS, 1e6),
    ("parameters, millions", N_PARAMS, 1e6),
    ("validation BPB", "", 1.0),
)


def _projection(facts: Snapshot, trial: FrozenTrial) -> str:
    if _of(facts, trial, "attention") != "latent":
        return str(_of(facts, trial, "attention"))
    return str(_of(facts, trial, "projection_dim"))


def draw_latent(facts: Snapshot) -> Any:
    """Return token rate, tokens, parameters and BPB by the width of latent attention's projection, and without one."""
    from plotly.subplots import make_subplots

    trials = _measured(facts)
    groups = _groups(facts, trials)
    if "projection_dim" not in facts.plan.space.parameters or len(groups) < 2:
        return None
    drawn = make_subplots(rows=len(PANELS), cols=1, shared_xaxes=True, vertical_spacing=0.04)
    drawn.update_layout(template=template(), height=190 * len(PANELS) + 40)
    for row, (unit, key, scale) in enumerate(PANELS, start=1):
        told = {g: [_value(t, key) / scale for t in members] for g, members in groups.items()}
        _panel(drawn, row, unit, told)
    drawn.update_xaxes(type="category", categoryorder="array", categoryarray=list(groups))
    drawn.update_xaxes(title="width of the latent projection; or attention without one", row=len(PANELS), col=1)
    title = "width of the latent projection;<br>or attention without one"
    drawn.update_layout(meta={"narrow": {f"xaxis{len(PANELS)}.title.text": title}})
    return drawn


def _value(trial: FrozenTrial, key: str) -> float:
    return float(trial.user_attrs.get(key, 0) if key else trial.value or 0.0)


def _panel(drawn: Any, row: int, unit: str, told: Mapping[str, Sequence[float]]) -> None:
    """Draw each group's values as a column of points with their median."""
    points = [(group, value) for group, values in told.items() for value in values]
    medians = [float(np.median(values)) for values in told.values()]
    circle = {"symbol": "circle-open", "color": FOUND, "size": 8}
    stroke = {"symbol": "line-ew-open", "color": RANDOM, "size": 30, "line": {"width": 3}}
    for name, x, y, marker in (
        ("a finished proxy", [g for g, _ in points], [v for _, v in points], circle),
        ("median", list(told), medians, stroke),
    ):
        drawn.add_scatter(x=x, y=y, name=name, mode="markers", showlegend=row == 1, marker=marker, row=row, col=1)
    drawn.update_yaxes(title=unit, row=row, col=1)


def _groups(facts: Snapshot, trials: Sequence[FrozenTrial]) -> dict[str, list[FrozenTrial]]:
    """Return the finished proxies by their projection, the narrowest first, other attentions last."""
    groups: dict[str, list[FrozenTrial]] = {}
    for t in trials:
        groups.setdefault(_projection(facts, t), []).append(t)
    return dict(sorted(groups.items(), key=lambda pair: (not pair[0].isdigit(), pair[0].zfill(9))))


def say_latent(facts: Snapshot) -> str:
    """Return how many proxies each group has, with the best BPB in it, and what pruning took away."""
    groups = _groups(facts, _measured(facts))
    told = ", ".join(f"{g}: {len(m)} (best {min(t.value or 0.0 for t in m):.4f} BPB)" for g, m in groups.items())
    pruned = sum(t.state == TrialState.PRUNED for t in facts.proxies)
    left = f" The {pruned} pruned ones are not among them." if pruned else ""
    return f"Finished proxies by projection: {told}.{left}" if told else ""
