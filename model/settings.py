"""Frozen records whose every field says its type, range and meaning, and that refuse anything else.

A record is a frozen, keyword-only dataclass that inherits `Settings` and declares its fields with
`setting(...)`. Building one checks each value; `parse` builds one from a TOML table and names the nearest
known key when it meets an unknown one. Reference documentation is generated from the same declarations.
"""

import difflib
import operator
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

from model.errors import SettingsError

S = TypeVar("S", bound="Settings")


def setting(
    default: Any = MISSING,
    doc: str = "",
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    """Declare a field: its default (none means it must be given), one line of meaning, and its range."""
    limits = {"at_least": at_least, "at_most": at_most, "above": above, "below": below, "choices": choices}
    return field(default=default, metadata={"doc": doc, **limits})


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


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of every record; raises `SettingsError` when a value has the wrong type or is out of range."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for f in fields(self):
            # TOML and JSON write 1.0 as 1, and only lists where a record holds a tuple.
            value = _fit(getattr(self, f.name), hints[f.name])
            object.__setattr__(self, f.name, value)
            _check(f, value, hints[f.name])

    @classmethod
    def parse(cls: type[S], table: Any, where: str = "") -> S:
        """Build a record from a table, `where` being its name in messages (`[proxy]`)."""
        if not isinstance(table, Mapping):
            raise SettingsError(f"{where} is {table!r}, but must be a table")
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
        return {k: list(v) if isinstance(v, tuple) else v for k, v in pairs if v is not None}


def _required(f: "Field[Any]") -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def _fit(value: Any, hint: Any) -> Any:
    if type(value) is int and float in (hint, *typing.get_args(hint)) and int not in typing.get_args(hint):
        return float(value)
    if isinstance(value, list) and tuple in (typing.get_origin(h) for h in (hint, *typing.get_args(hint))):
        return tuple(value)
    return value


_NAMES = {
    int: "an integer",
    float: "a number",
    str: "a string",
    bool: "true or false",
    types.NoneType: "absent",
}


def _check(f: "Field[Any]", value: Any, hint: Any) -> None:
    options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    plain = [o for o in options if o in _NAMES]
    if plain and len(plain) == len(options) and type(value) not in plain:
        allowed = " or ".join(_NAMES[o] for o in plain)
        raise SettingsError(f"`{f.name}` is {value!r}, but must be {allowed}")
    wanted = None if value is None else _outside(value, f.metadata)
    if wanted is not None:
        raise SettingsError(f"`{f.name}` is {value!r}, but must be {wanted}")


def _outside(value: Any, limits: Mapping[str, Any]) -> str | None:
    """Return what is allowed when the value is not, else None. NaN is outside every range."""
    rules: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
        ("at_least", ">=", operator.ge),
        ("above", ">", operator.gt),
        ("at_most", "<=", operator.le),
        ("below", "<", operator.lt),
    )
    given = [(sign, limits[key], holds) for key, sign, holds in rules if limits.get(key) is not None]
    if not all(holds(value, limit) for _, limit, holds in given):
        return " and ".join(f"{sign} {limit}" for sign, limit, _ in given)
    if limits.get("choices") and value not in limits["choices"]:
        return "one of " + ", ".join(f'"{c}"' for c in limits["choices"])
    return None
