"""The schema of `status --json`, and the page that tells of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from docs.generate.markdown import code, fenced, page, table
from search.show.status.json_schema import schema
from search.show.status.overview import Overview

INTRO = (
    "`lilm-search status --study NAME --json` prints one JSON object, the same facts as `status` shows. Its "
    "[schema](../status.schema.json) (JSON Schema) is kept by a test. A key below stands with its path: `[]` is each "
    "item of a list."
)


def schema_file() -> str:
    """Return the schema as its file has it."""
    return json.dumps(schema(Overview), indent=2, ensure_ascii=False) + "\n"


def status_page() -> str:
    """Return the page."""
    rows = [[code(path), kind, meaning] for path, kind, meaning in keys(schema(Overview))]
    example = fenced("lilm-search status --study quickstart --json")
    return page("# status --json", INTRO, example, table(("key", "type", "meaning"), rows))


def keys(part: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield each key of a schema or a part of one with its path, its type and its description, and those within it."""
    for name, entry in part.get("properties", {}).items():
        yield f"{path}{name}", _kind(entry), entry["description"]
        for form in _forms(entry):
            yield from keys(form, f"{path}{name}.")
            yield from keys(form.get("items", {}), f"{path}{name}[].")


def _forms(part: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    forms: Sequence[Mapping[str, Any]] = part.get("anyOf", [part])
    return forms


def _kind(part: Mapping[str, Any]) -> str:
    kinds = [form["type"] for form in _forms(part)]
    return " or ".join(name for kind in kinds for name in ([kind] if isinstance(kind, str) else kind))
