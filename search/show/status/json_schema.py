"""The JSON Schema of `status --json`, made from its records."""

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

JSON_TYPES: Mapping[Any, str] = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}


def schema(record: type) -> dict[str, Any]:
    """Return the schema of a record and of the records in it; it allows no other fields."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": record.__name__, **_of(record)}


def _of(kind: Any) -> dict[str, Any]:
    if kind in JSON_TYPES:
        return {"type": JSON_TYPES[kind]}
    if is_dataclass(kind):
        return _record(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return _either(get_args(kind))
    if get_origin(kind) is list:
        return {"type": "array", "items": _of(get_args(kind)[0])}
    return {"type": "object"}


def _record(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    properties = {f.name: {"description": f.metadata["doc"], **_of(hints[f.name])} for f in fields(kind)}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _either(kinds: tuple[Any, ...]) -> dict[str, Any]:
    if all(kind in JSON_TYPES for kind in kinds):
        return {"type": [JSON_TYPES[kind] for kind in kinds]}
    return {"anyOf": [_of(kind) for kind in kinds]}
