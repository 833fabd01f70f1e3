"""Untrusted text escaped, so that names, causes and values appear literally in Markdown or on a terminal."""

import re
import unicodedata

_SIGNS = re.compile(r"([\\`*\[\]<>|~$&]|(?<![^\W_])_|_(?![^\W_]))")


def plain(text: object) -> str:
    """Return text escaped so that Markdown shows it literally, on one line, without links, pictures or formulas."""
    return _SIGNS.sub(r"\\\1", plain_line(str(text)))


def sentence(text: str) -> str:
    """Return a sentence escaped for Markdown, except that `code` stays code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # an unpaired backtick belongs to a name
        return plain(text)
    return "`".join(part if i % 2 else _spaced(part) for i, part in enumerate(parts))


def _spaced(part: str) -> str:
    """Return a part of a sentence escaped, keeping the spaces at its ends, which `plain` would strip."""
    head, tail = part[: len(part) - len(part.lstrip())], part[len(part.rstrip()) :]
    return head + plain(part) + tail if part.strip() else part


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table of cells that are escaped already."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def fenced(text: str, kind: str = "") -> str:
    """Return text as a fenced block of code, in which Markdown has no mark-up."""
    body = plain_text(text).strip("\n")
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", body)), default=0))
    return f"{fence}{kind}\n{body}\n{fence}"


def code(text: object) -> str:
    """Return a short text as inline code."""
    return f"`{plain_line(str(text)).replace('`', '')}`"


_DIRECTION_MARKS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that change the direction of all text after them, on the page or in the terminal around it."""


def plain_text(text: str) -> str:
    """Return the text without control characters and changes of direction; line breaks and tabs stay."""
    text = re.sub(r"\r\n|[\u0085\u2028\u2029]", "\n", text)
    return "".join(
        c for c in text if c in "\n\t" or not (unicodedata.category(c) in ("Cc", "Cs") or c in _DIRECTION_MARKS)
    )


def plain_line(text: str) -> str:
    """Return the same as one line, with each run of white space replaced by one space."""
    return " ".join(plain_text(text).split())
