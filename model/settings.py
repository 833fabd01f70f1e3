"""Frozen records whose every field says its type, range and meaning, and that refuse anything else.

A record is a frozen, keyword-only dataclass that inherits `Settings` and declares its fields with
`setting(...)`. Building one checks each value; `parse` builds one from a TOML table and names the nearest
known key when it meets an unknown one. Reference documentation is generated from the same declarations.
"""

import difflib
import math
import operator
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

from model.errors import SettingsError

S = TypeVar("S", bound="Settings")

MOST_SHOWN = 200
"""Characters of a value in a message."""


def setting(
    default: Any = MISSING,
    doc: str = "",
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Sequence[str] | None = None,
    example: str = "",
) -> Any:
    """Declare a field: its default (none means it must be given), one line of meaning, its range, and an example."""
    limits = {"at_least": at_least, "at_most": at_most, "above": above, "below": below, "choices": choices}
    return field(default=default, metadata={"doc": doc, "example": example, **limits})


def deeper(value: Any, levels: int = 20) -> bool:
    """Return whether lists and tables lie in one another deeper than so many levels, which no file of ours has.

    Where they do, whoever writes such a value out recurses too deeply.
    """
    inside = [value]
    for _ in range(levels):
        if not inside:
            return False
        inside = [v for t in inside for v in (t.values() if isinstance(t, dict) else t if isinstance(t, list) else ())]
    return bool(inside)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence naming the known name most like this one, or all of them when none is close."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else f"known: {', '.join(known) or 'none'}"


def shown(value: Any) -> str:
    """Return a value that a person wrote as a message can hold it: however long, deep or many-digited it is."""
    try:
        text = repr(list(value) if isinstance(value, tuple) else value)
    except (ValueError, RecursionError):  # an integer of more than 4300 digits, tables within tables without end
        return "a number of very many digits" if isinstance(value, int) else "a value that is too large to show"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def is_finite(value: float) -> bool:
    """Return whether a number is one that every part can count with: no infinity, no integer of more than 64 bits."""
    return -(2**63) <= value < 2**63 if isinstance(value, int) else math.isfinite(value)


_types: dict[type[Any], dict[str, Any]] = {}


def types_of(record: type[Any]) -> dict[str, Any]:
    """Return the types of a record's fields, which are slow to find out."""
    if record not in _types:
        _types[record] = typing.get_type_hints(record)
    return _types[record]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of every record; raises `SettingsError` when a value has the wrong type or is out of range."""

    def __post_init__(self) -> None:
        hints = types_of(type(self))
        for f in fields(self):
            # TOML and JSON write 1.0 as 1, and only lists where a record holds a tuple.
            value = _fit(getattr(self, f.name), hints[f.name])
            object.__setattr__(self, f.name, value)
            _check(f, value, hints[f.name])

    @classmethod
    def parse(cls: type[S], table: Any, where: str = "") -> S:
        """Build a record from a table, `where` being its name in messages (`[proxy]`)."""
        if not isinstance(table, Mapping):
            raise SettingsError(f"{where} is {shown(table)}, but must be a table")
        prefix = f"{where} " if where else ""
        known = {f.name: f for f in fields(cls)}
        for key in table:
            if key not in known:
                raise SettingsError(f"{prefix}`{key}` is not a key here; {nearest(key, known)}")
        missing = [n for n, f in known.items() if _required(f) and n not in table]
        if missing:
            raise SettingsError(f"{prefix}`{missing[0]}` is missing: {known[missing[0]].metadata.get('doc', '')}")
        try:
            return cls(**table)
        except SettingsError as error:
            raise SettingsError(f"{prefix}{error}") from None

    def table(self) -> dict[str, Any]:
        """Return the record as a plain table; what is None has no place in TOML and is left out."""
        pairs = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {k: _as_written(v) for k, v in pairs if v is not None}


def _required(f: "Field[Any]") -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def _as_written(value: Any) -> Any:
    """Return a value in TOML's own types, which have lists where a record holds tuples."""
    if isinstance(value, dict):
        return {k: _as_written(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _options(hint: Any) -> tuple[Any, ...]:
    """Return the types of which a value must have one."""
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def _fit(value: Any, hint: Any) -> Any:
    """Return the value in the type that the record holds it in, where it can have that type."""
    if type(value) is hint:
        return value
    options = _options(hint)
    if type(value) is int and float in options and int not in options:
        return float(value) if is_finite(value) else value
    for option in options:
        if isinstance(value, (list, tuple)) and typing.get_origin(option) is tuple:
            return tuple(_fit(item, typing.get_args(option)[0]) for item in value)
        if isinstance(value, Mapping) and typing.get_origin(option) is dict:
            return {key: _fit(item, typing.get_args(option)[1]) for key, item in value.items()}
    return value


def _has_type(value: Any, hint: Any) -> bool:
    if type(value) is hint:
        return True
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_has_type(value, option) for option in inner)
    if origin is tuple:
        return type(value) is tuple and all(_has_type(item, inner[0]) for item in value)
    if origin is dict:
        return type(value) is dict and all(_has_type(item, inner[1]) for item in value.values())
    return False


_NAMES = {
    int: "an integer",
    float: "a number",
    str: "a string",
    bool: "true or false",
    types.NoneType: "absent",
}
_PLURALS = {int: "integers", float: "numbers", str: "strings"}


def type_name(hint: Any) -> str:
    """Return a type as a person who writes TOML calls it."""
    if typing.get_origin(hint) is tuple:
        return f"a list of {_PLURALS.get(typing.get_args(hint)[0], 'values')}"
    if typing.get_origin(hint) is dict:
        return "a table of values, or of lists of them"
    options = [o for o in _options(hint) if o is not int or float not in _options(hint)]
    return _NAMES[hint] if len(options) == 1 and hint in _NAMES else " or ".join(map(type_name, options))


def _check(f: "Field[Any]", value: Any, hint: Any) -> None:
    if not _has_type(value, hint):
        example = f.metadata.get("example")
        allowed = type_name(hint) + (f", such as {example}" if example else "")
        raise SettingsError(f"`{f.name}` is {shown(value)}, but must be {allowed}")
    if type(value) is int and not is_finite(value):
        raise SettingsError(f"`{f.name}` is {shown(value)}, but must be an integer of at most 64 bits, as in all TOML")
    if isinstance(value, str) and "\0" in value:
        raise SettingsError(f"`{f.name}` is {shown(value)}, but must be text without the character U+0000")
    wanted = None if value is None else _outside(value, f.metadata)
    if wanted is not None:
        raise SettingsError(f"`{f.name}` is {shown(value)}, but must be {wanted}")


_RULES: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
    ("at_least", ">=", operator.ge),
    ("above", ">", operator.gt),
    ("at_most", "<=", operator.le),
    ("below", "<", operator.lt),
)


def _outside(value: Any, limits: Mapping[str, Any]) -> str | None:
    """Return what is allowed when the value is not, else None. NaN is outside every range."""
    if not all(holds(value, limits[key]) for key, _, holds in _RULES if limits[key] is not None):
        return " and ".join(f"{sign} {limits[key]}" for key, sign, _ in _RULES if limits[key] is not None)
    if limits.get("choices") and value not in limits["choices"]:
        return "one of " + ", ".join(f'"{c}"' for c in limits["choices"])
    return None
