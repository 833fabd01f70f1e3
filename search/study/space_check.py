"""Checks of a study file's space: conditions can hold, and every configuration drawn from it is a valid one."""

import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from model.effects import require_effects
from model.errors import SettingsError
from model.settings import shown
from search.study.parameter import Value
from search.study.space import RECORDS, SECTION_OF, Parameter, Params, Space

MAX_VALUES = 256
"""Most values of a setting that are all tried; of more, the ends, their neighbours and some at random."""
SAMPLED_VALUES = 16
"""Values tried at random where a setting has more than `MAX_VALUES`."""
MAX_COMBINATIONS = 512
"""Most combinations that are all tried; of more, so many at random."""

TOGETHER = ("model", "train")
"""Sections whose settings are also checked together: one may do nothing beside another."""

Tables = Mapping[str, Mapping[str, Any]]
"""The settings in the sections for tokenizer, model and training, by section."""


def check_space(space: Space, tables: Tables) -> None:
    """Raise `SettingsError` if a condition can never hold, or a configuration can be drawn but not trained."""
    fixed = {k: v for table in tables.values() for k, v in table.items() if k not in space.parameters}
    for name, parameter in space.parameters.items():
        _check_condition(name, parameter, space, fixed)
    tried: set[tuple[tuple[str, ...], frozenset[Any]]] = set()
    for params in _draws(space, fixed):
        for sections in (*((section,) for section in RECORDS), TOGETHER):
            part = {k: v for k, v in params.items() if SECTION_OF[k] in sections}
            if (sections, frozenset(part.items())) in tried:
                continue
            tried.add((sections, frozenset(part.items())))
            if error := _error(sections, tables, part):
                raise SettingsError(_explained(space, tables, sections, part, error))


def _check_condition(name: str, parameter: Parameter, space: Space, fixed: Mapping[str, Any]) -> None:
    for key, wanted in parameter.condition().items():
        where = f"[space.{name}] `when` asks for `{key}` = {' or '.join(map(shown, wanted)) or 'none of all values'}"
        parent = space.parameters.get(key)
        for value in wanted:
            if parent is None and (error := _error((SECTION_OF[key],), {SECTION_OF[key]: {}}, {key: value})):
                raise SettingsError(f"[space.{name}] `when`: {error}")
            if parent is not None and not parent.holds(value):
                raise SettingsError(f"[space.{name}] `when` asks for `{key}` = {shown(value)}, but it is {parent}")
        if parent is None and fixed[key] not in wanted:
            raise SettingsError(
                f"{where}, but it is {shown(fixed[key])} in this study; search `{key}`, or leave the condition out"
            )
        if parent is not None and parent.size is None:
            raise SettingsError(f"{where}, which a range of real numbers never hits; give `{key}` choices, or a `step`")
        if not wanted:
            raise SettingsError(f"{where}; name at least one")
    for key, values in _needed(name, space).items():
        if not values:
            raise SettingsError(
                f"[space.{name}] `when` can never hold: what it names is searched only where `{key}` has other values"
            )


def _needed(name: str, space: Space) -> dict[str, tuple[Value, ...]]:
    """Return the values of other settings under which a setting is searched, following conditions of conditions."""
    needed: dict[str, tuple[Value, ...]] = {}
    unread = [name]
    while unread:
        for key, wanted in space.parameters[unread.pop()].condition().items():
            needed[key] = tuple(v for v in needed.get(key, wanted) if v in wanted)
            unread += [key] if key in space.parameters else []
    return needed


@dataclass(frozen=True)
class _FixedSuggester:
    """Suggests for each parameter the value that a function returns for its name."""

    value: Callable[[str], Any]

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self.value(name)

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> Any:
        return self.value(name)

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> Any:
        return self.value(name)


def _draws(space: Space, fixed: Mapping[str, Any]) -> Iterator[Params]:
    """Yield configurations that may be drawn: all if they are few, else each setting's values and combinations."""
    every = space.configurations(fixed, MAX_COMBINATIONS)
    if every is not None:
        yield from every
        return
    rng = random.Random(0)
    values = {name: _values(parameter, rng) for name, parameter in space.parameters.items()}
    for name, own in values.items():
        others = {key: some[0] for key, some in values.items()} | {k: v[0] for k, v in _needed(name, space).items()}
        for value in own:
            yield space.suggest(_FixedSuggester({**others, name: value}.__getitem__), fixed)
    for chosen in _combinations(_corners(space), rng):
        yield space.suggest(_FixedSuggester(chosen.__getitem__), fixed)
    for _ in range(MAX_COMBINATIONS // 4):
        yield space.suggest(_FixedSuggester({key: rng.choice(some) for key, some in values.items()}.__getitem__), fixed)


def _values(parameter: Parameter, rng: random.Random) -> list[Value]:
    """Return a setting's values; if there are many, the ends, their neighbours and some at random."""
    if (all_values := parameter.values(MAX_VALUES)) is not None:
        return list(all_values)
    if parameter.size is None:
        low, high = float(parameter.low or 0), float(parameter.high or 0)
        return [low, high, *(rng.uniform(low, high) for _ in range(SAMPLED_VALUES))]
    some = {
        0,
        1,
        parameter.size - 2,
        parameter.size - 1,
        *(rng.randrange(parameter.size) for _ in range(SAMPLED_VALUES)),
    }
    return [parameter.at(index) for index in sorted(some)]


def _corners(space: Space) -> dict[str, list[Value]]:
    """Return for each setting the values to combine: choices, ends, and the values that conditions name."""
    corners: dict[str, list[Value]] = {}
    for name, parameter in space.parameters.items():
        named = [v for p in space.parameters.values() for v in p.condition().get(name, ())]
        ends = [v for v in (parameter.low, parameter.high) if v is not None]
        corners[name] = list(dict.fromkeys([*(parameter.choices or ends), *named]))
    return corners


def _combinations(values: Mapping[str, list[Value]], rng: random.Random) -> Iterator[Params]:
    if math.prod(map(len, values.values())) <= MAX_COMBINATIONS:
        for combination in itertools.product(*values.values()):
            yield dict(zip(values, combination, strict=True))
        return
    for _ in range(MAX_COMBINATIONS):
        yield {name: rng.choice(some) for name, some in values.items()}


def _error(sections: tuple[str, ...], tables: Tables, params: Mapping[str, Any]) -> str:
    """Return the error of these sections with these values beside the fixed ones; empty if they accept them."""
    own = {section: {k: v for k, v in params.items() if SECTION_OF[k] == section} for section in sections}
    try:
        records = [RECORDS[section](**{**tables[section], **own[section]}) for section in sections]
        if sections == TOGETHER:
            require_effects(*records)  # type: ignore[arg-type]
    except SettingsError as error:
        return str(error)
    return ""


def _explained(space: Space, tables: Tables, sections: tuple[str, ...], params: Params, error: str) -> str:
    """Return a message that names the settings whose values a record refuses, the values, and what to write instead."""
    corners = _corners(space)
    involved = [
        name
        for name in params
        if any(not _error(sections, tables, {**params, name: v}) for v in _alternatives(space, name, corners))
    ]
    involved = involved or [name for name in params if f"`{name}`" in error]
    if not involved and sections == TOGETHER:
        return f"[model] and [train]: {error}"
    involved = involved or list(params)
    if len(involved) > 1:
        drawn = " and ".join(f"`{name}` = {shown(params[name])}" for name in involved)
        return f"[space] can draw {drawn} together: {error}; narrow one of them"
    name = involved[0]
    parameter = space.parameters[name]
    valid = [v for v in _alternatives(space, name, corners) if not _error(sections, tables, {**params, name: v})]
    return f"[space.{name}] can draw {shown(params[name])}: {error}{_remedy(parameter, valid)}"


def _alternatives(space: Space, name: str, corners: Mapping[str, list[Value]]) -> list[Value]:
    parameter = space.parameters[name]
    return list(parameter.values(8 * MAX_VALUES) or [*_values(parameter, random.Random(0)), *corners[name]])


def _remedy(parameter: Parameter, valid: list[Value]) -> str:
    """Return what to write so that only valid values are drawn; empty if that isn't known."""
    if parameter.choices is not None:
        return f"; write choices = {json.dumps(valid)}" if valid else ""
    if parameter.values(8 * MAX_VALUES) is None or len(valid) < 2:
        return ""
    numbers = [float(v) for v in valid]
    steps = {round(b - a, 9) for a, b in itertools.pairwise(numbers)}
    if len(steps) > 1:
        return f"; write choices = {json.dumps(valid)}" if len(valid) <= SAMPLED_VALUES else ""
    step = steps.pop()
    even = "" if step == 1 and parameter.whole and parameter.step is None else f", step = {step:g}"
    log = ", log = true" if parameter.log and not even else ""
    return f"; write {{ low = {valid[0]}, high = {valid[-1]}{even}{log} }}"
