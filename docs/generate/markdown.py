"""Markdown's parts that the generated pages are made of."""

from collections.abc import Sequence

NOTE = "<!-- Made by `make reference` from the code: don't edit. -->"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; columns that are empty in every row are left out."""
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    lines = [[head[i] for i in kept], ["---"] * len(kept), *([cell(row[i]) for i in kept] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(text: str) -> str:
    """Return text that stays within one cell."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """Return text as code, or nothing for nothing."""
    return f"`{text}`" if text else ""


def fenced(text: str) -> str:
    """Return lines as a block of code."""
    return f"```\n{text}\n```"


def page(*parts: str) -> str:
    """Return a page of these parts, empty ones left out."""
    return "\n\n".join(part for part in (parts[0], NOTE, *parts[1:]) if part) + "\n"
