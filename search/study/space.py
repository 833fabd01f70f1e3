"""The search space: the searched settings, their values, and the conditions under which they are searched."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from model.config import ModelConfig, TokenizerConfig, TrainConfig
from model.errors import SettingsError
from model.settings import Settings, is_finite, nearest, shown, type_name, types_of
from search.study.parameter import Parameter as Parameter
from search.study.parameter import Suggester, Value

RECORDS: dict[str, type[Settings]] = {
    "tokenizer": TokenizerConfig,
    "model": ModelConfig,
    "train": TrainConfig,
}
SECTION_OF = {f.name: section for section, record in RECORDS.items() for f in fields(record)}
"""The section of the study file that each searchable setting belongs to."""
TYPES = {f.name: types_of(record)[f.name] for record in RECORDS.values() for f in fields(record)}
"""The type of each searchable setting: it decides the values of a range, however its numbers are written."""

MAX_GRID_POINTS = 1000
"""Most points of a grid: even at the shortest useful budgets they take a GPU days."""

Params = dict[str, Any]


def params_key(params: Mapping[str, Any]) -> frozenset[Any]:
    """Return a hashable key that is equal for equal configurations, whatever the order of their parameters."""
    return frozenset(params.items())


@dataclass(frozen=True)
class Space:
    """All searched settings, in the order of the study file; a condition may only name earlier ones."""

    parameters: Mapping[str, Parameter]

    @classmethod
    def parse(cls, table: Any, *, stored: bool = False) -> "Space":
        """Build the space from the `[space]` table, each range in the type of its setting.

        In a stored plan, integer ends of a real setting's range mean whole numbers: earlier versions went by the
        type of the ends, and their studies have drawn whole numbers.
        """
        if not isinstance(table, Mapping):
            raise SettingsError(f"[space] is {shown(table)}, but must be a table")
        parameters: dict[str, Parameter] = {}
        for name, entry in table.items():
            if name not in SECTION_OF:
                raise SettingsError(
                    f"[space] `{name}` is not a setting that can be searched; {nearest(name, SECTION_OF)}"
                )
            parameter = Parameter.parse(entry, f"[space.{name}]")
            _check_condition(name, parameter, table)
            try:
                parameters[name] = _typed(name, parameter, stored)
            except SettingsError as error:
                raise SettingsError(f"[space.{name}] {error}") from None
        return cls(parameters)

    def names(self, settings: Mapping[str, Any]) -> set[str]:
        """Return the names of the settings that are searched, given the values of all settings."""
        return {name for name, p in self.parameters.items() if p.applies(settings)}

    def suggest(self, trial: Suggester, fixed: Mapping[str, Any]) -> Params:
        """Return the trial's suggestion for each searched setting; `fixed` are the settings that are not searched."""
        params: Params = {}
        for name, parameter in self.parameters.items():
            if parameter.applies({**fixed, **params}):
                params[name] = parameter.suggest(trial, name)
        return params

    def configurations(self, fixed: Mapping[str, Any], most: int) -> list[Params] | None:
        """Return all combinations of values that meet the conditions; None if there are more than `most`."""
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
        """Return all combinations of values that meet the conditions; `fixed` are the settings that are not searched.

        Raises `SettingsError` for a range with infinitely or too many values, and for more than `MAX_GRID_POINTS`.
        """
        points: list[Params] = [{}]
        for name, parameter in self.parameters.items():
            values = parameter.values()
            if values is None:
                raise SettingsError(
                    f"[space.{name}] is {parameter}, but a grid needs `choices`, or a range of at most 64 values"
                )
            points = _spread(points, name, parameter, values, fixed)
            if len(points) > MAX_GRID_POINTS:
                raise SettingsError(
                    f"[space] has {len(points)} combinations up to `{name}`, but a grid must have <= {MAX_GRID_POINTS}"
                )
        return points

    def table(self) -> dict[str, Any]:
        """Return the space as a plain table, as in the study file."""
        return {name: _without_false(p.table()) for name, p in self.parameters.items()}


def _spread(
    points: list[Params], name: str, parameter: Parameter, values: tuple[Value, ...], fixed: Mapping[str, Any]
) -> list[Params]:
    """Return each point with each of a parameter's values, or unchanged if the parameter doesn't apply to it."""
    return [
        {**point, **chosen}
        for point in points
        for chosen in ([{name: v} for v in values] if parameter.applies({**fixed, **point}) else [{}])
    ]


def _without_false(table: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in table.items() if v is not False}


def typed(name: str, value: Any) -> Any:
    """Return a setting's value in the setting's own type: in TOML, people write 1.0 as 1, too."""
    return float(value) if TYPES[name] is float and type(value) is int and is_finite(value) else value


def _typed(name: str, parameter: Parameter, stored: bool) -> Parameter:
    """Return the parameter with its numbers in the setting's own type; raises `SettingsError` if they don't fit it."""
    kind = TYPES[name]
    when = {key: _each(key, wanted) for key, wanted in parameter.when.items()} if parameter.when is not None else None
    if parameter.choices is not None:
        choices = tuple(typed(name, choice) for choice in parameter.choices)
        for choice in choices:
            if type(choice) is not kind:
                raise SettingsError(f"`choices` has {shown(choice)}, but `{name}` must be {type_name(kind)}")
        return replace(parameter, choices=choices, when=when)
    if kind is float:
        step = parameter.step
        if (
            stored and type(step) is not float
        ):  # of a version that went by the ends' type and used a step for integers only
            step = (step or 1) if type(parameter.low) is type(parameter.high) is int else None
        low, high, step = (typed(name, number) for number in (parameter.low, parameter.high, step))
        return replace(parameter, low=low, high=high, step=step, when=when)
    if kind is not int:
        raise SettingsError(f"is a range, but `{name}` must be {type_name(kind)}: list its values as `choices`")
    if {type(parameter.low), type(parameter.high), type(parameter.step or 1)} != {int}:
        raise SettingsError(f"is a range of numbers, but `{name}` must be an integer: write {{ low = 2, high = 8 }}")
    return replace(parameter, when=when)


def _each(name: str, wanted: Any) -> Any:
    return tuple(typed(name, v) for v in wanted) if isinstance(wanted, tuple) else typed(name, wanted)


def _check_condition(name: str, parameter: Parameter, table: Mapping[str, Any]) -> None:
    order = list(table)
    for key in parameter.when or {}:
        if key not in SECTION_OF:
            raise SettingsError(
                f"[space.{name}] `when` names `{key}`, which is not a setting; {nearest(key, SECTION_OF)}"
            )
        if key == name:
            raise SettingsError(f"[space.{name}] `when` names itself; it must name another setting")
        if key in order and order.index(key) > order.index(name):
            if name in _depends_on(key, table):
                raise SettingsError(
                    f"[space.{name}] `when` names `{key}`, whose own condition depends on `{name}`: "
                    "one of the two must be searched without a condition"
                )
            raise SettingsError(f"[space.{name}] `when` names `{key}`, which must stand before it in [space]")


def _depends_on(name: str, table: Mapping[str, Any]) -> set[str]:
    """Return the settings that a setting's condition names, and those that their conditions name, and so on.

    Entries that are malformed are skipped.
    """
    names: set[str] = set()
    unread = {name}
    while unread:
        entry = table.get(unread.pop())
        when = entry.get("when") if isinstance(entry, Mapping) else None
        unread |= set(when if isinstance(when, Mapping) else ()) - names
        names |= unread
    return names
