"""The text of the study file: every line explained, with measurements in comments, and the first rows quoted."""

import json
from pathlib import Path
from typing import Any

import tomli_w

from search.common import out_file
from search.common.durations import format_duration
from search.common.templates import fill
from search.init.inspect_text import Text
from search.init.sizing import CPU_TOKENS_PER_PARAM, GPU_TOKENS_PER_PARAM, Size
from search.machine.hardware import Hardware
from search.study.plan import Plan

QUOTED = 84
"""Characters of a row that are quoted."""


def render(name: str, text: Text, machine: Hardware, size: Size, source: str, price: tuple[float, str]) -> str:
    """Return the file's text, which is a valid plan."""
    quick = size.trials < 100
    written = fill(
        __package__,
        "study.toml.j2",
        toml=_toml,
        beside=_line,
        printable=printable,
        quoted=quoted,
        name=name,
        machine=machine,
        size=size,
        by_hand=size.by_hand,
        quick=quick,
        hours=format_duration(size.hours * 3600),
        text=text,
        rows=_rows(text),
        amount=f", {human(text.total_bytes)} of text" if text.total_bytes else "",
        source=source,
        period=size.holdout[0],
        held=size.holdout[1],
        share=f": {human(size.validation_bytes)}" if size.validation_bytes else "",
        most_parameters=count(size.most_parameters),
        price=price[0],
        price_from=price[1],
        tokens_per_param=CPU_TOKENS_PER_PARAM if quick else GPU_TOKENS_PER_PARAM,
    )
    Plan.parse(written, name=name, origin="the new study file")
    return written


def check_free(path: Path, force: bool) -> None:
    """Raise `SearchError` if the file can't be written, or exists and `force` isn't given."""
    out_file.check(path, new=_unless(force))


def write(path: Path, text: str, force: bool) -> None:
    """Write the file whole or not at all; raises `SearchError` as `check_free` does."""
    out_file.write(path, text, new=_unless(force))


def _unless(force: bool) -> str | None:
    return None if force else "; --force writes over it, --out names another file"


def quoted(text: str) -> str:
    """Return the beginning of a text as one line that is safe on any terminal and in a TOML comment."""
    beginning = text if len(text) <= QUOTED else text[:QUOTED]
    safe = json.dumps(beginning, ensure_ascii=False)
    return printable(safe) + ("…" if beginning != text else "")


def printable(text: str) -> str:
    """Return the text with signs escaped that no comment may hold, or that control a terminal."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _toml(key: str, value: Any) -> str:
    return tomli_w.dumps({key: value}).strip()


def _rows(text: Text) -> str:
    if text.max_row_bytes:
        return "one long row"
    if text.rows is None:
        return "rows that nobody counted"
    return f"{'' if text.exact else 'about '}{text.rows:,.0f} rows"


def _line(setting: str, comment: str) -> str:
    return f"{setting:<27} # {printable(comment)}"


def human(size: float) -> str:
    """Return a number of bytes for people."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} bytes"


def count(number: float) -> str:
    """Return a number for people."""
    for unit, factor in ((" billion", 1e9), (" million", 1e6)):
        if number >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:,.0f}"
