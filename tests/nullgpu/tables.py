"""What was found, in words and tables."""

from collections.abc import Mapping
from typing import Any

from tests.nullgpu.runs import Outcome


def line(outcome: Outcome) -> str:
    """Return an entry's outcome: its name, and below it each thing that is wrong."""
    word = "FAILED" if outcome.faults else "ok"
    head = f"{word:6} {outcome.card:16} {outcome.entry} ({outcome.seconds:.0f} s)"
    return "\n".join([head, *(f"       – {fault}" for fault in outcome.faults)])


def compared(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures of several trees as a Markdown table; with two of them, the second ÷ the first."""
    names = list(runs)
    ratio = len(names) == 2
    head = ["figure", *names, *(["ratio"] if ratio else [])]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    keys = list(
        dict.fromkeys((entry, key) for found in runs.values() for entry in found for key in _keys(found[entry]))
    )
    for entry, key in keys:
        values = [_value(found.get(entry), key) for found in runs.values()]
        cells = [_cell(v) for v in values]
        if ratio:
            cells.append(_ratio(*values))
        lines.append(f"| {entry}{', ' + key if key else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _keys(found: Any) -> list[str]:
    return list(found) if isinstance(found, dict) else [""]


def _value(found: Any, key: str) -> Any:
    return found.get(key) if isinstance(found, dict) else found if not key else None


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _ratio(before: Any, after: Any) -> str:
    numbers = isinstance(before, int | float) and isinstance(after, int | float)
    return f"{after / before:.3f}" if numbers and before else ""
