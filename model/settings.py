"""Frozen records whose fields declare type, range and meaning; other keys and values are refused.

A record is a frozen, keyword-only dataclass that inherits `Settings` and declares its fields with
`setting(...)`. Building one checks each value; `parse` builds one from a TOML table and names the nearest
existing key for an unknown one. Reference documentation is generated from the same declarations.
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
"""Most characters of a value in a message."""


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
    """Return whether lists and tables are nested deeper than this many levels, which no valid file needs.

    Writing such a value would exceed the recursion limit.
    """
    values = [value]
    for _ in range(levels):
        if not values:
            return False
        values = [v for t in values for v in (t.values() if isinstance(t, dict) else t if isinstance(t, list) else ())]
    return bool(values)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return a sentence with the allowed name most like this one, or with all if none is close."""
    allowed = sorted(allowed)
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else f"known: {', '.join(allowed) or 'none'}"


def shown(value: Any) -> str:
    """Return a person's value as text for a message, however long or deeply nested it is."""
    try:
        text = repr(list(value) if isinstance(value, tuple) else value)
    except (ValueError, RecursionError):  # an integer of more than 4300 digits, tables within tables without end
        return "a number of very many digits" if isinstance(value, int) else "a value that is too large to show"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def is_finite(value: float) -> bool:
    """Return whether a number is finite and, if an integer, has at most 64 bits."""
    return -(2**63) <= value < 2**63 if isinstance(value, int) else math.isfinite(value)


_types: dict[type[Any], dict[str, Any]] = {}


def types_of(record: type[Any]) -> dict[str, Any]:
    """Return the types of a record's fields, cached since finding them is slow."""
    if record not in _types:
        _types[record] = typing.get_type_hints(record)
    return _types[record]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of every record; raises `SettingsError` when a value has the wrong type or is out of range."""

    def __post_init__(self) -> None:
        for f, hint, default in _fields_to_check(type(self)):
            given = getattr(self, f.name)
            if given is default:
                continue
            # TOML and JSON may write 1.0 as 1, and have lists for tuples.
            value = _fit(given, hint)
            object.__setattr__(self, f.name, value)
            _check(f, value, hint)

    @classmethod
    def parse(cls: type[S], table: Any, where: str = "") -> S:
        """Build a record from a table, `where` being its name in messages (`[proxy]`)."""
        if not isinstance(table, Mapping):
            raise SettingsError(f"{where} is {shown(table)}, but must be a table")
        prefix = f"{where} " if where else ""
        keys = {f.name: f for f in fields(cls)}
        for key in table:
            if key not in keys:
                raise SettingsError(f"{prefix}`{key}` is not a key here; {nearest(key, keys)}")
        missing = [n for n, f in keys.items() if _required(f) and n not in table]
        if missing:
            raise SettingsError(f"{prefix}`{missing[0]}` is missing: {keys[missing[0]].metadata.get('doc', '')}")
        try:
            return cls(**table)
        except SettingsError as error:
            raise SettingsError(f"{prefix}{error}") from None

    def table(self) -> dict[str, Any]:
        """Return the record as a plain table, without fields that are None, which TOML can't hold."""
        pairs = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {k: _as_written(v) for k, v in pairs if v is not None}


_checks: dict[type[Any], list[tuple["Field[Any]", Any, Any]]] = {}


def _fields_to_check(record: type[Any]) -> list[tuple["Field[Any]", Any, Any]]:
    """Return a record's fields, each with its type and its default if that is valid as it stands, else MISSING.

    Checking a study's space builds hundreds of records, most of whose dozens of fields have their defaults.
    """
    if record not in _checks:
        hints = types_of(record)
        _checks[record] = [(f, hints[f.name], _valid_default(f, hints[f.name])) for f in fields(record)]
    return _checks[record]


def _valid_default(f: "Field[Any]", hint: Any) -> Any:
    if f.default is MISSING or _fit(f.default, hint) is not f.default:
        return MISSING
    try:
        _check(f, f.default, hint)
    except SettingsError:
        return MISSING
    return f.default


def _required(f: "Field[Any]") -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def _as_written(value: Any) -> Any:
    """Return a value in TOML's own types, with lists for tuples."""
    if isinstance(value, dict):
        return {k: _as_written(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _options(hint: Any) -> tuple[Any, ...]:
    """Return the types that a value may have."""
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def _fit(value: Any, hint: Any) -> Any:
    """Return the value converted to the record's type, if it can be."""
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
    """Return the name of a type for people who write TOML."""
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
