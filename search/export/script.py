"""An export as a Python script that trains it again with the `model` package alone, and back."""

import ast
import json
from collections.abc import Mapping
from typing import Any

from search.common.durations import parse_duration
from search.common.errors import SearchError
from search.common.templates import fill


def script(table: Mapping[str, Any], title: str) -> str:
    """Return an export as a script, which holds the export's table as a literal.

    Raises `SearchError` if the seed isn't an integer.
    """
    seed, seconds = table["result"]["seeds"][0], parse_duration(table["budget"])
    if type(seed) is not int:  # a worker wrote it, and in the script it would be code
        raise SearchError(f"the first run's seed is {seed!r}, but must be an integer: its record was tampered with")
    title = title.replace("\\", "/").replace('"', "'")  # a baseline's name may hold anything
    return fill(__package__, "script.py.j2", title=title, export=literal(table), seconds=seconds, seed=seed)


def literal(value: Any, indent: str = "") -> str:
    """Return plain values as Python source, with a line for each key of a table."""
    deeper = indent + "    "
    if isinstance(value, Mapping):
        lines = [f"{deeper}{literal(key)}: {literal(item, deeper)},\n" for key, item in value.items()]
        return "{\n" + "".join(lines) + indent + "}"
    if isinstance(value, list) and any(isinstance(item, Mapping | str) for item in value):
        return "[\n" + "".join(f"{deeper}{literal(item, deeper)},\n" for item in value) + indent + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def read_script(text: str) -> Any:
    """Return the export's table in a script, which is parsed and never run; None if there is none."""
    try:
        for statement in ast.parse(text).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id="EXPORT")], value=value):
                    return ast.literal_eval(value)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return None
