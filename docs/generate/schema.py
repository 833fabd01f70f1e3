"""The page of `status --json`, from its schema."""

import json
from collections.abc import Iterator, Mapping, Sequence
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
    rows = [[code(path), kind, meaning] for path, kind, meaning in keys(json.loads(SCHEMA.read_text(encoding="utf-8")))]
    example = fenced("lilm-search status --study quickstart --json")
    return page("# status --json", INTRO, example, table(("key", "type", "meaning"), rows))


def keys(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield each key of a schema with its path, its type and its description, and those within it."""
    for name, entry in schema.get("properties", {}).items():
        yield f"{path}{name}", _kind(entry), entry["description"]
        for form in _forms(entry):
            yield from keys(form, f"{path}{name}.")
            yield from keys(form.get("items", {}), f"{path}{name}[].")


def _forms(schema: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    forms: Sequence[Mapping[str, Any]] = schema.get("anyOf", [schema])
    return forms


def _kind(schema: Mapping[str, Any]) -> str:
    kinds = [form["type"] for form in _forms(schema)]
    return " or ".join(name for kind in kinds for name in ([kind] if isinstance(kind, str) else kind))
