"""Text of others within Markdown: names, causes and values are shown as they are, never acted upon."""

import re

from search.show.plain import plain_line, plain_text

_SIGNS = re.compile(r"([\\`*\[\]<>|~$&]|(?<![^\W_])_|_(?![^\W_]))")


def plain(text: object) -> str:
    """Return text as Markdown shows it unchanged, on one line: no link, picture, formula or column comes of it."""
    return _SIGNS.sub(r"\\\1", plain_line(str(text)))


def sentence(text: str) -> str:
    """Return a sentence of ours, in which `code` stays code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a sign left alone is a name's own
        return plain(text)
    return "`".join(part if i % 2 else _spaced(part) for i, part in enumerate(parts))


def _spaced(part: str) -> str:
    """Return a piece of a sentence with the spaces at its ends, which `plain` would take."""
    head, tail = part[: len(part) - len(part.lstrip())], part[len(part.rstrip()) :]
    return head + plain(part) + tail if part.strip() else part


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table of cells that are Markdown already."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def fenced(text: str, kind: str = "") -> str:
    """Return text as a block of code, in which nothing is mark-up, whatever it says."""
    body = plain_text(text).strip("\n")
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", body)), default=0))
    return f"{fence}{kind}\n{body}\n{fence}"


def code(text: object) -> str:
    """Return a short text as code on its line."""
    return f"`{plain_line(str(text)).replace('`', '')}`"
