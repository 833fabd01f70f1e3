"""Configurations from numbers in [0, 1): random or quasi-random points of a search space with conditions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def seed_from(*parts: int) -> int:
    """Return a 32-bit seed derived from these integers."""
    return int(np.random.SeedSequence([p % 2**32 for p in parts]).generate_state(1)[0])


def sobol(dimensions: int, seed: int, index: int) -> list[float]:
    """Return a point of a scrambled Sobol sequence, from its index alone.

    Optuna's QMCSampler instead counts its points in the study, where two workers may read the same count.
    """
    from scipy.stats import qmc  # imported here: it takes a second, and only workers draw

    engine = qmc.Sobol(dimensions, scramble=True, seed=seed)
    if index:
        engine.fast_forward(index)
    return [float(x) for x in engine.random(1)[0]]


@dataclass(frozen=True)
class PointSuggester:
    """Suggests values from a coordinate in [0, 1) for each parameter; parameters in `given` keep their values."""

    coordinates: Mapping[str, float]
    given: Mapping[str, Any]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:  # noqa: D102
        return self.given.get(name, choices[int(self.coordinates[name] * len(choices))])

    def suggest_float(  # noqa: D102
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool
    ) -> float:
        part = self.coordinates[name]
        if step is not None:
            return float(self.given.get(name, low + step * int(part * (round((high - low) / step) + 1))))
        value = low * (high / low) ** part if log else low + (high - low) * part
        return float(self.given.get(name, min(value, high)))

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:  # noqa: D102
        part = self.coordinates[name]
        if log:
            value = round((low - 0.5) * ((high + 0.5) / (low - 0.5)) ** part)
        else:
            value = low + step * int(part * ((high - low) // step + 1))
        return int(self.given.get(name, min(max(value, low), high)))
