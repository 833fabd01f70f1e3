"""Text of others made harmless: names, causes and values are shown as they are, in Markdown or on a terminal."""

import re
import unicodedata

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


_TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that change the direction of all text after them, on the page or in the terminal around it."""


def plain_text(text: str) -> str:
    """Return the text without characters that command a terminal or turn its direction; lines and tabs stay."""
    text = re.sub(r"\r\n|[\u0085\u2028\u2029]", "\n", text)
    return "".join(c for c in text if c in "\n\t" or not (unicodedata.category(c) in ("Cc", "Cs") or c in _TURNING))


def plain_line(text: str) -> str:
    """Return the text as one line: the same, with every run of white space one space."""
    return " ".join(plain_text(text).split())
