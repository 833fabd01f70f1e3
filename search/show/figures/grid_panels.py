"""The figures of grids as data: the swept setting, the measures that are drawn, and the sentence that sums them up."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from search.analysis.grid import Point, point_bpb_text, points_of, value_text
from search.analysis.snapshot import Snapshot
from search.study.trials import N_PARAMS, TOKENS, TOKENS_PER_PARAM, TOKENS_PER_SECOND

ONLY_LINE = "finished runs"
"""Name of the line if no other setting is swept."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel of a figure, with one measure of the points."""

    measure: str
    title: str
    """Title of the axis, with its unit."""
    unit: float = 1.0
    """Unit of the axis in units of the measure: 1e6 for millions."""
    log: bool = False
    """Whether the axis may be logarithmic, which it is if the values' ratio is large."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A figure of one swept setting: panels above one another that share the setting's axis."""

    swept: str | None
    """Name of the setting; None: the one with the most values."""
    axis: str = ""
    """Title of its axis, with its unit; empty: the setting's name."""
    panels: Sequence[Panel]
    log: bool | None = None
    """Whether its axis is logarithmic; None: if the values' ratio is large."""
    height: int = 210
    """Height of a panel, in CSS pixels."""


BPB = Panel(measure="val_bpb", title="validation BPB")
RATE = Panel(measure=TOKENS_PER_SECOND, title="tokens/s", log=True)
ANY = Sweep(swept=None, panels=(BPB,))
SCHEDULES = Sweep(
    swept="max_lr",
    axis="highest learning rate",
    panels=(BPB, Panel(measure="train_bpb", title="training BPB")),
    log=True,
    height=290,
)
VOCABULARY = Sweep(
    swept="vocab_size",
    axis="vocabulary, tokens",
    panels=(BPB, Panel(measure="bytes_per_token", title="bytes per token"), RATE),
    log=True,
)
DEPTH = Sweep(
    swept="n_layer",
    axis="depth, transformer blocks",
    panels=(Panel(measure=TOKENS_PER_PARAM, title="tokens per parameter", log=True), BPB),
    log=True,
)
BATCH = Sweep(swept="batch_size", axis="batch, sequences per step", panels=(BPB, RATE), log=True)
LATENT = Sweep(
    swept="projection_dim",
    axis="width of the latent projection",
    panels=(
        Panel(measure=N_PARAMS, title="parameters, millions", unit=1e6),
        RATE,
        Panel(measure=TOKENS, title="tokens, millions", unit=1e6),
        BPB,
    ),
    log=False,
    height=180,
)


def widest(points: Sequence[Point]) -> str:
    """Return the name of the setting with the most values."""
    names = dict.fromkeys(name for p in points for name in p.params)
    return max(names, key=lambda n: len({p.params[n] for p in points if n in p.params}), default="")


def split(points: Sequence[Point], swept: str) -> tuple[dict[str, list[Point]], dict[str, Point]]:
    """Return the points by the other settings: lines along `swept`, and levels, the points that don't have it."""
    lines: dict[str, list[Point]] = {}
    levels: dict[str, Point] = {}
    for p in points:
        name = other_settings(p, swept)
        if swept in p.params:
            lines.setdefault(name, []).append(p)
        else:
            levels[name] = p
    return lines, levels


def other_settings(p: Point, swept: str) -> str:
    """Return a point's other settings as text."""
    return ", ".join(f"{k} {value_text(v)}" for k, v in p.params.items() if k != swept) or ONLY_LINE


def recorded_panels(sweep: Sweep, points: Sequence[Point]) -> list[Panel]:
    """Return the panels whose measure the runs recorded: runs of earlier versions lack some."""
    return [panel for panel in sweep.panels if any(panel.measure in p.means for p in points)]


def describe_sweep(sweep: Sweep, snapshot: Snapshot) -> str:
    """Return where each line is lowest, how the lowest compares with the levels, and what is missing."""
    all_points = points_of(snapshot.plan, snapshot.proxies)
    finished = [p for p in all_points if p.runs]
    if not finished:
        return ""
    swept = sweep.swept or widest(finished)
    lines, levels = split(finished, swept)
    lowest = sorted(
        ((name, min(points, key=lambda p: p.bpb)) for name, points in lines.items()), key=lambda n: n[1].bpb
    )
    lowest_texts = [f"{point_bpb_text(p)} BPB at {swept} {value_text(p.params[swept])}" for _, p in lowest]
    each_line = "; ".join(f"{name}, {text}" for (name, _), text in zip(lowest, lowest_texts, strict=True))
    sentences = (
        [f"Lowest: {lowest_texts[0]}." if list(lines) == [ONLY_LINE] else f"Lowest of each line: {each_line}."]
        if lowest_texts
        else []
    )
    sentences += [_compared(name, level, lowest[0][1]) for name, level in levels.items() if lowest]
    sentences += [f"{len(all_points) - len(finished)} of {len(all_points)} points have no finished run."] * (
        len(finished) < len(all_points)
    )
    missing = [panel.title for panel in sweep.panels if panel not in recorded_panels(sweep, finished)]
    sentences += [f"These runs didn't record: {', '.join(missing)}."] * bool(missing)
    return " ".join(sentences)


def _compared(name: str, level: Point, best: Point) -> str:
    """Return how the best point compares with a level, and whether noise alone may explain it."""
    difference = best.bpb - level.bpb
    halves = [p.means["val_bpb"].half_width for p in (level, best)]
    noise = math.hypot(*(h or 0.0 for h in halves))
    sureness = "" if None in halves else ", within noise" if abs(difference) <= noise else ", more than noise"
    return f"Beside it {name}, {point_bpb_text(level)} BPB: the lowest is {abs(difference):.4f} " + (
        f"{'below' if difference < 0 else 'above'} it{sureness}."
    )
