"""A table by formula, for tests: its truth is known."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.search.answers import Scale
from tests.benchmarks.table.rows import PERCENTS, Curve, Params, Row, Table

STUDY = Path(__file__).parent.parent / "table" / "space.toml"
SPACE: dict[str, dict[str, Any]] = {
    "max_lr": {"low": 1e-4, "high": 3e-2, "log": True},
    "vocab_size": {"low": 512, "high": 4096, "step": 512},
    "n_layer": {"low": 1, "high": 6},
    "n_head": {"low": 1, "high": 4},
    "head_dim": {"low": 8, "high": 32, "step": 8},
    "batch_size": {"choices": [1, 2, 4, 8, 16, 32]},
    "schedule": {"choices": ["one_cycle", "warmup_stable_decay"]},
}
BASELINE: Params = {
    "max_lr": 7.2e-3,
    "vocab_size": 2048,
    "n_layer": 2,
    "n_head": 2,
    "head_dim": 16,
    "batch_size": 8,
    "schedule": "one_cycle",
}
SCALE = Scale(SPACE)


def curve(final: float, seed: int, failed: bool = False) -> Curve:
    """Return a curve that falls from 2 above its end to it; one that failed reported half of it."""
    bpb = tuple(final + 2 * (1 - p / 100) for p in PERCENTS)[: 10 if failed else None]
    return Curve(seed, bpb, bpb, tuple(PERCENTS[: len(bpb)]), failed)


def row(number: int, params: Params, bpb: float, *, noise: float = 0.0, proxy: float | None = None) -> Row:
    """Return a row whose long runs end so far on both sides of its BPB, and whose proxy ends 0.5 above it."""
    long = (curve(bpb - noise, 100), curve(bpb + noise, 101))
    return Row(number, params, curve(bpb + 0.5 if proxy is None else proxy, 0), long, n_params=1000)


def table(count: int, *, noise: float = 0.0, seed: int = 0) -> Table:
    """Return the baseline and random rows, whose BPB is 2 + the squared distance from the middle of the space."""
    random = np.random.default_rng(seed)
    rows = [row(0, BASELINE, _bpb(BASELINE), noise=noise)]
    for number in range(1, count):
        params = {name: drawn(entry, random) for name, entry in SPACE.items()}
        rows.append(row(number, params, _bpb(params), noise=noise))
    return Table(tuple(rows), STUDY.read_text(), 5.0, {})


def failing(made: Row) -> Row:
    """Return the row with long runs that diverge half-way."""
    return replace(made, long=(curve(2.0, 100, failed=True),))


def _bpb(params: Params) -> float:
    return 2 + float(((SCALE.place(params) - 0.5) ** 2).sum())


def drawn(entry: dict[str, Any], random: np.random.Generator) -> Any:
    """Return a random value of a searched setting."""
    if "choices" in entry:
        choices = list(entry["choices"])
        return choices[int(random.integers(len(choices)))]
    low, high = entry["low"], entry["high"]
    if entry.get("log"):
        return float(low * (high / low) ** random.random())
    step = int(entry.get("step", 1))
    return int(low + step * random.integers((high - low) // step + 1))
