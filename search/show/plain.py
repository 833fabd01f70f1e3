"""Texts that others wrote, made harmless to show: names of studies, and what networks write."""

import re
import unicodedata

_TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that change the direction of all text after them, on the page or in the terminal around it."""


def plain_text(text: str) -> str:
    """Return the text without characters that command a terminal or turn its direction; lines and tabs stay."""
    text = re.sub(r"\r\n|[\u0085\u2028\u2029]", "\n", text)
    return "".join(c for c in text if c in "\n\t" or not (unicodedata.category(c) in ("Cc", "Cs") or c in _TURNING))


def plain_line(text: str) -> str:
    """Return the text as one line: the same, with every run of white space one space."""
    return " ".join(plain_text(text).split())
