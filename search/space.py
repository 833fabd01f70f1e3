"""The search space: which settings are searched, within which values, and under which conditions."""

import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from model.config import ModelConfig, TokenizerConfig, TrainConfig
from model.errors import SettingsError
from model.settings import Settings, nearest, setting

RECORDS: dict[str, type[Settings]] = {
    "tokenizer": TokenizerConfig,
    "model": ModelConfig,
    "train": TrainConfig,
}
OWNER = {f.name: section for section, record in RECORDS.items() for f in fields(record)}
"""The section of the study file that each searchable setting belongs to."""

MOST_POINTS = 1000
"""Of a grid: at the shortest useful budgets that is days of a GPU already."""

Params = dict[str, Any]
Value = bool | int | float | str


def identity(params: Mapping[str, Any]) -> frozenset[Any]:
    """Return what is equal for equal configurations, in whatever order their parameters stand."""
    return frozenset(params.items())


class Suggester(Protocol):
    """What the space needs of an Optuna trial."""

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...  # noqa: D102
    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float: ...  # noqa: D102
    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class Parameter(Settings):
    """One searched setting: a range, or a list of choices; `when` names the settings it depends on."""

    low: int | float | None = setting(None, "smallest value")
    high: int | float | None = setting(None, "largest value")
    step: int | None = setting(None, "distance between the values of an integer range", at_least=1)
    log: bool = setting(False, "spread the values evenly over orders of magnitude")
    choices: tuple[Value, ...] | None = setting(None, "the values themselves, unordered")
    when: dict[str, Value] | None = setting(None, "searched only where these settings have these values")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.choices is None) == (self.low is None or self.high is None):
            raise SettingsError("needs either `low` and `high`, or `choices`")
        if self.choices is not None:
            if len(set(self.choices)) != len(self.choices) or not self.choices:
                raise SettingsError(f"`choices` is {list(self.choices)}, but must list at least one value, each once")
            return
        assert self.low is not None
        assert self.high is not None
        if not self.low < self.high:
            raise SettingsError(f"`low` is {self.low} and `high` is {self.high}, but low must be < high")
        if self.log and self.low <= 0:
            raise SettingsError(f"`low` is {self.low}, but must be > 0 where log = true")
        if self.log and self.step:
            raise SettingsError("`step` and `log` exclude one another")
        if self.step and (self.high - self.low) % self.step:
            raise SettingsError(f"`step` is {self.step}, but must divide high - low ({self.high - self.low})")

    @property
    def whole(self) -> bool:
        """Whether the range is one of integers."""
        return type(self.low) is int and type(self.high) is int

    def values(self, most: int = 64) -> tuple[Value, ...] | None:
        """Return every value where there are at most so many, else None."""
        if self.choices is not None:
            return self.choices
        if not self.whole:
            return None
        span = range(int(self.low or 0), int(self.high or 0) + 1, self.step or 1)
        return tuple(span) if len(span) <= most else None

    def distribution(self) -> BaseDistribution:
        """Return Optuna's distribution over these values."""
        if self.choices is not None:
            return CategoricalDistribution(self.choices)
        low, high = self.low, self.high
        assert low is not None
        assert high is not None
        if self.whole:
            return IntDistribution(int(low), int(high), log=self.log, step=self.step or 1)
        return FloatDistribution(low, high, log=self.log)

    def suggest(self, trial: Suggester, name: str) -> Any:
        """Ask the trial for a value."""
        if self.choices is not None:
            return trial.suggest_categorical(name, self.choices)
        low, high = self.low, self.high
        assert low is not None
        assert high is not None
        if self.whole:
            return trial.suggest_int(name, int(low), int(high), step=self.step or 1, log=self.log)
        return trial.suggest_float(name, low, high, log=self.log)

    def applies(self, settings: Mapping[str, Any]) -> bool:
        """Return whether these settings meet the parameter's condition."""
        return all(settings.get(k) == v for k, v in (self.when or {}).items())

    def holds(self, value: Any) -> bool:
        """Return whether the value lies in the range or among the choices."""
        if self.choices is not None:
            return any(value == c and type(value) is type(c) for c in self.choices)
        low, high = self.low, self.high
        assert low is not None
        assert high is not None
        number = type(value) is int or (type(value) is float and not self.whole)
        return number and low <= value <= high and not (self.step and (value - low) % self.step)

    def __str__(self) -> str:
        if self.choices is not None:
            return "one of " + ", ".join(str(c) for c in self.choices)
        return (
            f"{self.low} … {self.high}"
            + (f" in steps of {self.step}" if self.step else "")
            + (" (log)" if self.log else "")
        )


@dataclass(frozen=True)
class Space:
    """All searched settings, in the order of the study file; a condition looks back, never ahead."""

    parameters: Mapping[str, Parameter]

    @classmethod
    def parse(cls, table: Any) -> "Space":
        """Build the space from the `[space]` table, checking each range against the setting it searches."""
        if not isinstance(table, Mapping):
            raise SettingsError(f"[space] is {table!r}, but must be a table")
        parameters: dict[str, Parameter] = {}
        for name, entry in table.items():
            if name not in OWNER:
                raise SettingsError(f"[space] `{name}` is not a setting that can be searched; {nearest(name, OWNER)}")
            parameter = Parameter.parse(entry, f"[space.{name}]")
            _check_values(name, parameter)
            _check_condition(name, parameter, list(table))
            parameters[name] = parameter
        return cls(parameters)

    def names(self, settings: Mapping[str, Any]) -> set[str]:
        """Return which settings are searched, given the values of all."""
        return {name for name, p in self.parameters.items() if p.applies(settings)}

    def suggest(self, trial: Suggester, fixed: Mapping[str, Any]) -> Params:
        """Ask the trial for a value of each setting that is searched; `fixed` are those that are not."""
        params: Params = {}
        for name, parameter in self.parameters.items():
            if parameter.applies({**fixed, **params}):
                params[name] = parameter.suggest(trial, name)
        return params

    def configurations(self, fixed: Mapping[str, Any], most: int) -> list[Params] | None:
        """Return every combination of values, those of a condition only where it holds; None for more than `most`."""
        points: list[Params] = [{}]
        for name, parameter in self.parameters.items():
            if any(parameter.applies({**fixed, **point}) for point in points):
                values = parameter.values(most)
                if values is None:
                    return None
                points = _spread(points, name, parameter, values, fixed)
            if len(points) > most:
                return None
        return points

    def grid(self, fixed: Mapping[str, Any]) -> list[Params]:
        """Return every combination of values, those of a condition only where it holds; `fixed` are the others.

        Raises `SettingsError` for a range that can't be counted out, and for more than `MOST_POINTS`.
        """
        points: list[Params] = [{}]
        for name, parameter in self.parameters.items():
            values = parameter.values()
            if values is None:
                raise SettingsError(
                    f"[space.{name}] is {parameter}, but a grid needs `choices`, or at most 64 integers"
                )
            points = _spread(points, name, parameter, values, fixed)
            if len(points) > MOST_POINTS:
                raise SettingsError(
                    f"[space] has {len(points)} combinations up to `{name}`, but a grid must have <= {MOST_POINTS}"
                )
        return points

    def table(self) -> dict[str, Any]:
        """Return the space as a plain table, as in the study file."""
        return {name: _without_false(p.table()) for name, p in self.parameters.items()}


def _spread(
    points: list[Params], name: str, parameter: Parameter, values: tuple[Value, ...], fixed: Mapping[str, Any]
) -> list[Params]:
    """Return each point with each of a parameter's values, or as it is where the parameter doesn't apply."""
    return [
        {**point, **chosen}
        for point in points
        for chosen in ([{name: v} for v in values] if parameter.applies({**fixed, **point}) else [{}])
    ]


def _without_false(table: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in table.items() if v is not False}


def _check_values(name: str, parameter: Parameter) -> None:
    """Refuse a range that the setting itself would refuse: its ends, or every choice."""
    record = RECORDS[OWNER[name]]
    whole = typing.get_type_hints(record)[name] is int
    if whole and parameter.choices is None and not parameter.whole:
        raise SettingsError(
            f"[space.{name}] is a range of numbers, but `{name}` must be an integer: write {{ low = 2, high = 8 }}"
        )
    for value in parameter.choices or [*filter(None, (parameter.low, parameter.high)), *(parameter.values() or ())]:
        try:
            record(**{name: value})
        except SettingsError as error:
            raise SettingsError(f"[space.{name}] {error}") from None


def _check_condition(name: str, parameter: Parameter, table_order: list[str]) -> None:
    for key in parameter.when or {}:
        if key not in OWNER:
            raise SettingsError(f"[space.{name}] `when` names `{key}`, which is not a setting; {nearest(key, OWNER)}")
        if key == name:
            raise SettingsError(f"[space.{name}] `when` names itself; it must name another setting")
        if key in table_order and table_order.index(key) > table_order.index(name):
            raise SettingsError(f"[space.{name}] `when` names `{key}`, which must stand before it in [space]")
