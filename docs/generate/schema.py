"""The page of `status --json`, from its schema."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docs.generate.markdown import code, fenced, page, table

SCHEMA = Path(__file__).parent.parent / "status.schema.json"
INTRO = (
    "`lilm-search status --study NAME --json` prints one JSON object, the same facts as `status` shows. Its "
    "[schema](../status.schema.json) (JSON Schema) is kept by a test. A key below stands with its path: `[]` is each "
    "item of a list."
)


def status_page() -> str:
    """Return the page."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    rows = [[code(path), kind, meaning] for path, kind, meaning in keys(schema, schema)]
    example = fenced("lilm-search status --study quickstart --json")
    return page("# status --json", INTRO, example, table(("key", "type", "meaning"), rows))


def keys(schema: Mapping[str, Any], root: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield each key of a schema with its path, its type and its description."""
    for name, entry in schema.get("properties", {}).items():
        found, here = resolved(entry, root), f"{path}{name}"
        yield here, _kind(found), entry.get("description", found.get("description", ""))
        yield from inner(found, root, here)


def inner(schema: Mapping[str, Any], root: Mapping[str, Any], here: str) -> Iterator[tuple[str, str, str]]:
    """Yield the keys within an object, within a list's items, or within either of several forms."""
    yield from keys(schema, root, f"{here}.")
    if "items" in schema:
        yield from inner(resolved(schema["items"], root), root, f"{here}[]")
    for form in schema.get("anyOf", []) + schema.get("oneOf", []):
        yield from inner(resolved(form, root), root, here)


def resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a schema refers to, or itself."""
    found: Any = root
    for part in schema.get("$ref", "#").split("/")[1:]:
        found = found[part]
    return found if "$ref" in schema else schema


def _kind(schema: Mapping[str, Any]) -> str:
    kinds = schema.get("type", [])
    named = [kinds] if isinstance(kinds, str) else list(kinds)
    named += [_kind(form) for form in schema.get("anyOf", []) + schema.get("oneOf", [])]
    named += [", ".join(json.dumps(value) for value in schema.get("enum", []))]
    return " or ".join(name for name in named if name)
