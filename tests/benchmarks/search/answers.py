"""What a search is told in one replay: the table's nearest rows for its draws, and their curves with noise anew."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tests.benchmarks.table.rows import Curve, Params, Row, Table

NEIGHBOURS = 5


@dataclass(frozen=True)
class Scale:
    """Where values lie between 0 and 1: what is one step of the whole range apart counts the same in every setting."""

    entries: Mapping[str, Mapping[str, Any]]
    """The study file's `[space]`."""

    def place(self, params: Params) -> np.ndarray:
        """Return a configuration's coordinates."""
        return np.array([self._coordinate(entry, params[name]) for name, entry in self.entries.items()])

    @staticmethod
    def _coordinate(entry: Mapping[str, Any], value: Any) -> float:
        """Return a value's place in its range, logarithmic where that is; of choices, in the list of them."""
        if "choices" in entry:
            return float(entry["choices"].index(value) / max(1, len(entry["choices"]) - 1))
        low, high = entry["low"], entry["high"]
        if entry.get("log"):
            return math.log(value / low) / math.log(high / low)
        return float((value - low) / (high - low))


@dataclass
class Answers:
    """One replay's view of the table. A row answers one draw alone; what was drawn becomes the row's configuration."""

    table: Table
    scale: Scale
    replay: int
    used: set[int] = field(default_factory=set)

    def nearest(self, params: Params) -> Row:
        """Return the row of these values, or else the nearest that has not answered another draw, and take it.

        Of two as near, the first.
        Raises `IndexError` where all have been taken.
        """
        if (exact := self._exact.get(frozenset(params.items()))) is not None:
            self.used.add(exact)
            return self.table.rows[exact]
        distances = ((self._places - self.scale.place(params)) ** 2).sum(axis=1).round(12)
        distances[list(self.used)] = math.inf
        index = int(np.argmin(distances))
        if not math.isfinite(distances[index]):
            raise IndexError(f"all {len(self.table.rows)} rows of the table are taken")
        self.used.add(index)
        return self.table.rows[index]

    def row(self, params: Params) -> Row:
        """Return the row that has just these values; raises `KeyError` where there is none."""
        return self.table.rows[self._exact[frozenset(params.items())]]

    def long(self, row: Row, repeat: int) -> Curve:
        """Return a long run: the row's truth and noise as near rows have it, the same whenever this replay asks.

        The noise is what a run of one of the `NEIGHBOURS` nearest rows with several seeds differs from that row's mean
        by: what is unstable, such as a high learning rate, is so nearby. The curve is one of the row's own, moved.
        """
        random = np.random.default_rng([self.replay, row.number, repeat])
        curve, noise = row.long[int(random.integers(len(row.long)))], self.noise(row)
        if curve.failed or not math.isfinite(row.mean) or not noise:
            return curve
        moved = row.mean + noise[int(random.integers(len(noise)))] - curve.final
        return Curve(repeat, tuple(b + moved for b in curve.bpb), curve.train_bpb, curve.steps, failed=False)

    def noise(self, row: Row) -> list[float]:
        """Return the residuals that a row's runs may have."""
        there = [other for other in self.table.rows if other.residuals]
        distances = [self._distance(row, other) for other in there]
        near = np.argsort(distances, kind="stable")[:NEIGHBOURS]
        return [residual for i in near for residual in there[i].residuals]

    def _distance(self, one: Row, other: Row) -> float:
        places = (self._places[self._exact[frozenset(row.params.items())]] for row in (one, other))
        return float(((next(places) - next(places)) ** 2).sum())

    @cached_property
    def _exact(self) -> dict[frozenset[Any], int]:
        return {frozenset(row.params.items()): i for i, row in enumerate(self.table.rows)}

    @cached_property
    def _places(self) -> np.ndarray:
        return np.array([self.scale.place(row.params) for row in self.table.rows])
