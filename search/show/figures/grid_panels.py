"""What the figures of grids show: which setting, which measures of its points, and what is to be seen in them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from search.analysis.grid import Point, point_bpb_text, points_of, value_text
from search.analysis.snapshot import Snapshot
from search.study.trials import N_PARAMS, TOKENS, TOKENS_PER_PARAM, TOKENS_PER_SECOND

ALONE = "finished runs"
"""The only line's name, where no other setting is swept."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One measure of the points."""

    measure: str
    title: str
    """With its unit."""
    unit: float = 1.0
    """What one of the axis is in the measure: 1e6 for millions."""
    log: bool = False
    """Whether on a logarithmic axis, where its values are spread."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A figure of one swept setting: panels above one another, which share its axis."""

    swept: str | None
    """None: the setting with the most values."""
    axis: str = ""
    """The setting in words, with its unit; empty: its name."""
    panels: Sequence[Panel]
    log: bool | None = None
    """Whether the axis is logarithmic; None: where the values are spread."""
    height: int = 210
    """Of a panel, in CSS pixels."""


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


def widest(found: Sequence[Point]) -> str:
    """Return the setting with the most values."""
    names = dict.fromkeys(name for p in found for name in p.params)
    return max(names, key=lambda n: len({p.params[n] for p in found if n in p.params}), default="")


def split(found: Sequence[Point], swept: str) -> tuple[dict[str, list[Point]], dict[str, Point]]:
    """Return the points by the other settings' values: lines along `swept`; levels, where a condition excludes it."""
    lines: dict[str, list[Point]] = {}
    levels: dict[str, Point] = {}
    for p in found:
        name = rest_of(p, swept)
        if swept in p.params:
            lines.setdefault(name, []).append(p)
        else:
            levels[name] = p
    return lines, levels


def rest_of(p: Point, swept: str) -> str:
    """Return a point's other settings, in words."""
    return ", ".join(f"{k} {value_text(v)}" for k, v in p.params.items() if k != swept) or ALONE


def known_panels(sweep: Sweep, found: Sequence[Point]) -> list[Panel]:
    """Return the panels that runs have figures for: runs of earlier versions lack some."""
    return [panel for panel in sweep.panels if any(panel.measure in p.means for p in found)]


def say_sweep(sweep: Sweep, facts: Snapshot) -> str:
    """Return where each line is lowest, how that compares with the levels, and what is missing."""
    every = points_of(facts.plan, facts.proxies)
    found = [p for p in every if p.runs]
    if not found:
        return ""
    swept = sweep.swept or widest(found)
    lines, levels = split(found, swept)
    lowest = sorted(
        ((name, min(points, key=lambda p: p.bpb)) for name, points in lines.items()), key=lambda n: n[1].bpb
    )
    at = [f"{point_bpb_text(p)} BPB at {swept} {value_text(p.params[swept])}" for _, p in lowest]
    told = "; ".join(f"{name}, {text}" for (name, _), text in zip(lowest, at, strict=True))
    said = [f"Lowest: {at[0]}." if list(lines) == [ALONE] else f"Lowest of each line: {told}."] if at else []
    said += [_compared(name, level, lowest[0][1]) for name, level in levels.items() if lowest]
    said += [f"{len(every) - len(found)} of {len(every)} points have no finished run."] * (len(found) < len(every))
    missing = [panel.title for panel in sweep.panels if panel not in known_panels(sweep, found)]
    said += [f"These runs didn't record: {', '.join(missing)}."] * bool(missing)
    return " ".join(said)


def _compared(name: str, level: Point, best: Point) -> str:
    """Return how the best point stands to a level, and whether noise alone could be it."""
    difference = best.bpb - level.bpb
    halves = [p.means["val_bpb"].half_width for p in (level, best)]
    noise = math.hypot(*(h or 0.0 for h in halves))
    sure = "" if None in halves else ", within noise" if abs(difference) <= noise else ", more than noise"
    return f"Beside it {name}, {point_bpb_text(level)} BPB: the lowest is {abs(difference):.4f} " + (
        f"{'below' if difference < 0 else 'above'} it{sure}."
    )
