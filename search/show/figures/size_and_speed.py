"""The figures of size and speed: tokens per parameter by depth, throughput by size, latent attention's projection."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search.analysis.snapshot import Snapshot
from search.common.network_size import parameters_text
from search.show.figures.style import (
    BASELINE,
    BEST,
    RANDOM,
    SCALE,
    SEARCHED,
    empty_figure,
    frame_top,
    log_axis,
    template,
)
from search.show.wording import joined
from search.study.trials import N_PARAMS, TOKENS, TOKENS_PER_SECOND, attributes_of, final_budget, finished, trial_params


def _measured(snapshot: Snapshot) -> list[FrozenTrial]:
    return [t for t in finished(list(snapshot.proxies)) if {N_PARAMS, TOKENS} <= t.user_attrs.keys()]


def _setting(snapshot: Snapshot, trial: FrozenTrial, name: str) -> Any:
    """Return a setting's value in a trial, searched or fixed."""
    return trial_params(trial).get(name, snapshot.plan.fixed().get(name))


def draw_depth(snapshot: Snapshot) -> Any:
    """Return the figure of tokens per parameter by depth: finished proxies, coloured by their BPB."""
    trials = _measured(snapshot)
    depths = [_setting(snapshot, t, "n_layer") for t in trials]
    if len(set(depths)) < 2:
        return None
    figure = empty_figure(
        "depth, transformer blocks", f"tokens per parameter in {snapshot.plan.proxy.budget} (log scale)"
    )
    figure.add_scatter(
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
        text=[f"trial {t.number}: {t.value:.4f} BPB, {_size(t)} parameters" for t in trials],
        hovertemplate="%{text}<br>%{x} blocks, %{y:.3g} tokens per parameter<extra></extra>",
    )
    _ring(figure, snapshot, trials, depths)
    figure.update_yaxes(**log_axis([t.user_attrs[TOKENS] / t.user_attrs[N_PARAMS] for t in trials]))
    figure.update_xaxes(dtick=1 if max(depths) <= 16 else None)
    return figure


def _ring(figure: Any, snapshot: Snapshot, trials: Sequence[FrozenTrial], depths: Sequence[int]) -> None:
    """Draw rings round the three best, so that they are told by more than colour."""
    order = np.argsort([t.value or 0.0 for t in trials])[:3]
    figure.add_scatter(
        x=[depths[i] for i in order],
        y=[trials[i].user_attrs[TOKENS] / trials[i].user_attrs[N_PARAMS] for i in order],
        mode="markers",
        name="the three best",
        marker={"symbol": "circle-open", "size": 19, "color": BASELINE, "line": {"width": 2}},
        hoverinfo="skip",
    )


def describe_depth(snapshot: Snapshot) -> str:
    """Return the depths and tokens per parameter of the three best proxies."""
    best = sorted(_measured(snapshot), key=lambda t: t.value or 0.0)[:3]
    depths = [str(_setting(snapshot, t, "n_layer")) for t in best]
    ratios = [f"{t.user_attrs[TOKENS] / t.user_attrs[N_PARAMS]:.3g}" for t in best]
    if len(best) < 3:
        return ""
    if len(set(depths)) == 1:
        blocks = f"{depths[0]} block{'s' if depths[0] != '1' else ''}"
        return f"The three best proxies have {blocks} each and saw {joined(ratios)} tokens for each parameter."
    return f"The three best proxies have {joined(depths)} blocks and saw {joined(ratios)} tokens for each parameter."


def draw_speed(snapshot: Snapshot) -> Any:
    """Return the figure of tokens per second by number of parameters: proxies and long runs."""
    long = [r for r in finished(list(snapshot.runs)) if final_budget(snapshot.plan, r)]
    groups = (("proxies", _measured(snapshot), "circle-open", SEARCHED), ("long runs", long, "diamond", BEST))
    measured = [
        (name, [t for t in trials if {N_PARAMS, TOKENS_PER_SECOND} <= t.user_attrs.keys()], symbol, colour)
        for name, trials, symbol, colour in groups
    ]
    if sum(len(trials) for _, trials, _, _ in measured) < 2:
        return None
    figure = empty_figure("parameters (log scale)", "training throughput, tokens/s (log scale)")
    for name, trials, symbol, colour in measured:
        if trials:
            figure.add_scatter(
                x=[t.user_attrs[N_PARAMS] for t in trials],
                y=[t.user_attrs[TOKENS_PER_SECOND] for t in trials],
                name=name,
                mode="markers",
                marker={"symbol": symbol, "color": colour, "size": 9},
                text=[f"{t.number}: {t.value:.4f} BPB<br>{_size(t)} parameters" for t in trials],
                hovertemplate="%{text}, %{y:,} tokens/s<extra></extra>",
            )
    all_trials = [t for _, trials, _, _ in measured for t in trials]
    figure.update_xaxes(**log_axis([t.user_attrs[N_PARAMS] for t in all_trials]))
    figure.update_yaxes(**log_axis([t.user_attrs[TOKENS_PER_SECOND] for t in all_trials]))
    return figure


def _size(trial: FrozenTrial) -> str:
    return parameters_text(trial.user_attrs[N_PARAMS], attributes_of(trial).n_active_params)


def describe_speed(snapshot: Snapshot) -> str:
    """Return the range of the proxies' tokens per second."""
    rates = [t.user_attrs[TOKENS_PER_SECOND] for t in _measured(snapshot) if TOKENS_PER_SECOND in t.user_attrs]
    return f"Proxies trained at {min(rates):,.0f} to {max(rates):,.0f} tokens/s." if rates else ""


PANELS = (
    ("tokens/s", TOKENS_PER_SECOND, 1.0),
    ("tokens, millions", TOKENS, 1e6),
    ("parameters, millions", N_PARAMS, 1e6),
    ("validation BPB", "", 1.0),
)


def _projection(snapshot: Snapshot, trial: FrozenTrial) -> str:
    if _setting(snapshot, trial, "attention") != "latent":
        return str(_setting(snapshot, trial, "attention"))
    return str(_setting(snapshot, trial, "projection_dim"))


def draw_latent(snapshot: Snapshot) -> Any:
    """Return the figure of speed, tokens, parameters and BPB by the projection's width, and of other attentions."""
    from plotly.subplots import make_subplots

    trials = _measured(snapshot)
    groups = _groups(snapshot, trials)
    if "projection_dim" not in snapshot.plan.space.parameters or len(groups) < 2:
        return None
    figure = make_subplots(rows=len(PANELS), cols=1, shared_xaxes=True, vertical_spacing=0.04)
    figure.update_layout(template=template(), height=190 * len(PANELS) + 40)
    for row, (unit, key, scale) in enumerate(PANELS, start=1):
        values = {g: [_value(t, key) / scale for t in members] for g, members in groups.items()}
        _panel(figure, row, unit, values)
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=list(groups))
    figure.update_xaxes(title="width of the latent projection; or attention without one", row=len(PANELS), col=1)
    title = "width of the latent projection;<br>or attention without one"
    figure.update_layout(meta={"narrow": {f"xaxis{len(PANELS)}.title.text": title}})
    return figure


def _value(trial: FrozenTrial, key: str) -> float:
    return float(trial.user_attrs.get(key, 0) if key else trial.value or 0.0)


def _panel(figure: Any, row: int, unit: str, groups: Mapping[str, Sequence[float]]) -> None:
    """Draw each group's values as a column of points with their median."""
    points = [(group, value) for group, values in groups.items() for value in values]
    medians = [float(np.median(values)) for values in groups.values()]
    circle = {"symbol": "circle-open", "color": SEARCHED, "size": 8}
    stroke = {"symbol": "line-ew-open", "color": RANDOM, "size": 30, "line": {"width": 3}}
    for name, x, y, marker in (
        ("a finished proxy", [g for g, _ in points], [v for _, v in points], circle),
        ("median", list(groups), medians, stroke),
    ):
        figure.add_scatter(x=x, y=y, name=name, mode="markers", showlegend=row == 1, marker=marker, row=row, col=1)
    figure.update_yaxes(title=unit, row=row, col=1)


def _groups(snapshot: Snapshot, trials: Sequence[FrozenTrial]) -> dict[str, list[FrozenTrial]]:
    """Return the finished proxies by their projection's width, the narrowest first, other attentions last."""
    groups: dict[str, list[FrozenTrial]] = {}
    for t in trials:
        groups.setdefault(_projection(snapshot, t), []).append(t)
    return dict(sorted(groups.items(), key=lambda pair: (not pair[0].isdigit(), pair[0].zfill(9))))


def describe_latent(snapshot: Snapshot) -> str:
    """Return each group's number of proxies and best BPB, and how many proxies were pruned."""
    groups = _groups(snapshot, _measured(snapshot))
    group_texts = ", ".join(f"{g}: {len(m)} (best {min(t.value or 0.0 for t in m):.4f} BPB)" for g, m in groups.items())
    pruned = sum(t.state == TrialState.PRUNED for t in snapshot.proxies)
    pruned_note = f" The {pruned} pruned ones are not among them." if pruned else ""
    return f"Finished proxies by projection: {group_texts}.{pruned_note}" if group_texts else ""
