"""Tables by formula, on which no method may lose: what is true, and what a proxy says of it, is set by hand."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.benchmarks.search.made_up import BASELINE, SCALE, SPACE, STUDY, drawn, row
from tests.benchmarks.table.rows import Curve, Params, Row, Table

ROWS = 400
NOISE = 0.01
"""Distance of a long run from its configuration's mean, in BPB, on either side."""
BEST = 2.0
"""BPB at the optimum, to which the squared distance from it is added."""
OPTIMUM: Params = {
    "max_lr": 2e-3,
    "vocab_size": 3072,
    "n_layer": 4,
    "n_head": 3,
    "head_dim": 24,
    "batch_size": 4,
    "schedule": "warmup_stable_decay",
}


def _distance(params: Params, optimum: Params) -> float:
    """Return the squared distance of two configurations, of which one setting apart by its whole range is 1."""
    return float(((SCALE.place(params) - SCALE.place(optimum)) ** 2).sum())


def _table(optimum: Params, proxy: Callable[[float], float]) -> Table:
    """Return the baseline, the optimum and random rows; `proxy` gives a proxy's BPB for that of a long run.

    Long runs lie as their proxies do until their end.
    """
    random, made = np.random.default_rng(16), [BASELINE] + [optimum] * (optimum != BASELINE)
    made += [{name: drawn(entry, random) for name, entry in SPACE.items()} for _ in range(ROWS - len(made))]
    return Table(tuple(_row(i, p, optimum, proxy) for i, p in enumerate(made)), STUDY.read_text(), 5.0, {})


def _row(number: int, params: Params, optimum: Params, proxy: Callable[[float], float]) -> Row:
    bpb = BEST + _distance(params, optimum)
    made = row(number, params, bpb, noise=NOISE, proxy=proxy(bpb))
    return replace(made, long=tuple(_higher_until_its_end(curve, proxy(bpb) - 0.5 - bpb) for curve in made.long))


def _higher_until_its_end(curve: Curve, difference: float) -> Curve:
    """Return a long run that lies so much higher until its end: its beginning says what a proxy does."""
    return replace(curve, bpb=(*(bpb + difference for bpb in curve.bpb[:-1]), curve.bpb[-1]))


CONTROLS: dict[str, Callable[[], Table]] = {
    "perfect proxy": lambda: _table(OPTIMUM, lambda bpb: bpb + 0.5),
    "reversed proxy": lambda: _table(OPTIMUM, lambda bpb: 2 * BEST + 4 - bpb),
    "baseline is the optimum": lambda: _table(BASELINE, lambda bpb: bpb + 0.5),
}
"""Tables by name."""
