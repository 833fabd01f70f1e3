"""The table of a sweep of ideas, for a terminal."""

from typing import Any

from rich.table import Table

from search.analysis.ideas import Comparison, Comparisons, Verdict
from search.study.plan import PLAIN, Plan
from search.study.results import bpb_text
from search.study.trials import N_PARAMS, TOKENS_PER_SECOND

STYLES = {Verdict.HELPS: "bold green", Verdict.HURTS: "red"}
WIDE = 100
"""Columns of a terminal from which runs and tokens per second have columns of their own."""


def ideas_table(plan: Plan, comparisons: Comparisons, width: int) -> Table:
    """Return a table of the ideas in the study file's order, below the plain configuration."""
    wide, plain = width >= WIDE, comparisons.plain
    frame: dict[str, Any] = {"pad_edge": False} if wide else {"box": None, "padding": (0, 1, 0, 0)}
    table = Table(title=f"{plan.name}: after {plan.proxy.budget} of training", title_justify="left", **frame)
    table.add_column("idea", overflow="fold")
    table.add_column("BPB − plain (± 95%)" if wide else "BPB − plain", justify="right", no_wrap=True)
    for name in (*(["runs"] if wide else []), "speed", "params, M"):
        table.add_column(name, justify="right")
    table.add_column("verdict", overflow="fold")
    table.caption, table.caption_justify = _caption(comparisons), "left"
    half = plain.means["val_bpb"].half_width if plain.runs else None
    rate = plain.means[TOKENS_PER_SECOND].value if TOKENS_PER_SECOND in plain.means else None
    table.add_row(
        PLAIN,
        f"{bpb_text(plain.bpb, half if wide else None)} BPB" if plain.runs else "–",
        *([str(plain.runs)] if wide else []),
        f"{rate:,.0f}/s" if rate else "–",
        _millions(plain.means[N_PARAMS].value if N_PARAMS in plain.means else None),
        plain.others,
    )
    for each in comparisons.ideas:
        table.add_row(*_row(each, wide), style=STYLES.get(each.verdict, ""))
    return table


def _row(each: Comparison, wide: bool) -> list[str]:
    difference = "–" if each.difference is None else f"{each.difference:+.4f}"
    interval = f" ± {each.half_width:.4f}" if each.half_width is not None else ""
    runs = [str(each.point.runs)] if wide else []
    speed = f"× {each.speed:.2f}" if each.speed else "–"
    return [each.name, difference + interval, *runs, speed, _millions(each.parameters), each.sentence]


def _millions(parameters: float | None) -> str:
    return f"{parameters / 1e6:.3g}" if parameters else "–"


def _caption(comparisons: Comparisons) -> str:
    """Return what the intervals mean, and the noise that they come from."""
    deviation, degrees = comparisons.noise.deviation, comparisons.noise.degrees
    if deviation is None:
        return "Nothing ran twice yet: no intervals."
    return (
        f"All {len(comparisons.ideas)} intervals hold together at 95% (Dunnett); noise from seed to seed "
        f"{deviation:.4f} BPB, {degrees} degrees of freedom. "
        "Seeds: of each idea, for a true difference of this size, with a power of 80%."
    )
