"""A space's configurations as points of a unit cube, as a Gaussian process needs them, and back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from search.study.parameter import Parameter
from search.study.space import Space

ABSENT = 0.5
"""Coordinate of a setting that a configuration doesn't have."""


@dataclass(frozen=True)
class Encoding:
    """Coordinates: one for each range and list of numbers, one for each value of another list, one for a condition.

    Lists of numbers are ordered, whatever the study file's order: of 8, 16 and 32 sequences, 16 lies between.
    """

    space: Space

    def points(self, configurations: Sequence[Mapping[str, Any]]) -> Float[ndarray, "n d"]:
        """Return the points of n configurations."""
        return np.array([self._point(params) for params in configurations], dtype=float).reshape(-1, self.size)

    @cached_property
    def size(self) -> int:
        """The number of coordinates."""
        return sum(_width(p) + bool(p.condition()) for p in self.space.parameters.values())

    def is_ordered(self, name: str) -> bool:
        """Return whether a setting's values have an order: a range, or a list of numbers."""
        return self.space.parameters[name].choices is None or _ordered(self.space.parameters[name])

    def _point(self, params: Mapping[str, Any]) -> list[float]:
        point: list[float] = []
        for name, parameter in self.space.parameters.items():
            there = name in params
            point += _coordinates(parameter, params[name]) if there else [ABSENT] * _width(parameter)
            point += [float(there)] if parameter.condition() else []
        return point

    def places(self, params: Mapping[str, Any]) -> dict[str, float]:
        """Return, for each setting of a configuration, the place in [0, 1) that `PointSuggester` reads it from."""
        return {name: _place(self.space.parameters[name], value) for name, value in params.items()}


def _ordered(parameter: Parameter) -> bool:
    return all(type(v) in (int, float) for v in parameter.choices or ())


def _width(parameter: Parameter) -> int:
    return 1 if _ordered(parameter) else len(parameter.choices or ())


def _coordinates(parameter: Parameter, value: Any) -> list[float]:
    if parameter.choices is None:
        return [min(1.0, max(0.0, _share(parameter, value)))]
    if _ordered(parameter):
        return [sorted(parameter.choices).index(value) / max(1, len(parameter.choices) - 1)]
    return [math.sqrt(0.5) * (value == choice) for choice in parameter.choices]  # two values are 1 apart


def _share(parameter: Parameter, value: float) -> float:
    """Return the share of a range that lies below a value."""
    low, high = float(parameter.low or 0), float(parameter.high or 0)
    if parameter.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _place(parameter: Parameter, value: Any) -> float:
    """Return the middle of the part of [0, 1) that stands for a value."""
    if parameter.choices is not None:
        return (parameter.choices.index(value) + 0.5) / len(parameter.choices)
    size = parameter.size
    if size is None or parameter.log:
        return min(max(_share(parameter, value), 0.0), 1 - 1e-9)
    return (_share(parameter, value) * (size - 1) + 0.5) / size
