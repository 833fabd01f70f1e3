"""What the first rows say of a text: its column, whether a row is a document or a line of one, how much there is."""

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from model.data.preview import FirstRows, first_rows
from model.data.sources import one_row
from model.errors import DataError
from search.common.errors import SearchError

Ask = Callable[[str, list[str]], str]
"""Asks a person which of these is meant."""

LINE_BYTES = 400
"""Rows that are shorter, by their median, are lines of a document, unless they hold line breaks themselves."""
DOCUMENT_BYTES = 2500
"""Lines are joined into documents of about this size, so that the network sees what belongs together."""
PIECES = 40
"""Pieces of a text of one row, at least: so that some can be held out."""
LEAST_PIECE = 100
"""Bytes of a piece, at least."""
CONVENTIONAL = ("text", "story", "content")
VALIDATION = ("validation", "valid", "dev", "test")


@dataclass(frozen=True, kw_only=True)
class Text:
    """What is known of a text."""

    source: str
    column: str | None
    """None where the source has no columns."""
    others: Sequence[str]
    """Its other columns that hold text."""
    first: Sequence[str]
    """The first rows that aren't empty."""
    row_bytes: float
    """Of a row, on average."""
    rows: float | None
    exact: bool
    """Whether the rows were counted."""
    rows_per_document: int
    total_bytes: float | None
    """Of all text; None where nobody tells how many rows there are."""
    beginning: Sequence[str] = ()
    """All rows that were read and aren't empty."""
    least_vocabulary: int = 320
    """Tokens that its characters need, once that was tried."""
    most_vocabulary: int = 65_536
    """Tokens that it is enough for, once that was tried."""
    max_row_bytes: int | None = None
    """What rows are cut into, where there is but one."""
    split: str = "train"
    validation_split: str | None = None


def look(source: str, column: str | None, ask: Ask | None) -> Text:
    """Return what the first rows say; raises `SearchError` or `DataError` where no column can be told."""
    found = first_rows(source)
    chosen, others = _column(found, column, source, ask)
    texts = [str(row[chosen]) for row in found.rows if isinstance(row.get(chosen), str)]
    full = [t for t in texts if t.strip()]
    if not full:
        raise SearchError(f"{source}: {_nothing(found, chosen)}")
    split = "train" if "train" in found.splits or not found.splits else next(iter(found.splits))
    row_bytes = statistics.fmean(len(t.encode("utf-8", "replace")) for t in texts)
    total, told = (None if found.count is None else found.count * row_bytes), found.column_bytes.get(chosen, 0.0)
    if found.read_share:  # by bytes, not by rows: one of them may be longer than all others
        told = row_bytes * len(texts) / found.read_share
    if total is not None and (found.read_share or told > total / 2):  # else a parquet file keeps repeated values once
        total, row_bytes = told, told / max(1.0, found.count or 1.0)
    return Text(
        source=source,
        column=chosen or None,
        others=others,
        first=full[:3],
        row_bytes=row_bytes,
        total_bytes=total,
        rows=found.count,
        exact=found.exact,
        rows_per_document=rows_per_document(full),
        beginning=full,
        split=split,
        validation_split=next((s for s in VALIDATION if s in found.splits and s != split), None),
    )


def cut(text: Text) -> Text:
    """Return the text; of one long row, cut into pieces of a document's usual size, or smaller where they'd be few."""
    if text.rows is None or text.rows >= 2 or text.validation_split:
        return text
    total = text.total_bytes or 0.0
    most = max(LEAST_PIECE, min(DOCUMENT_BYTES, int(total / PIECES)))
    if total < 2 * most:
        raise DataError(one_row(text.source))
    pieces = total / most
    return replace(text, max_row_bytes=most, rows=pieces, exact=False, row_bytes=total / pieces, rows_per_document=1)


def _nothing(found: FirstRows, column: str) -> str:
    number = len(found.rows)
    if not column:
        lines = f"first {number} lines are" if number != 1 else "only line is"
        return f"its {lines} blank; name another text with --data"
    return f"the first {number} rows of `{column}` hold no text; name another column"


def rows_per_document(texts: Sequence[str]) -> int:
    """Return how many rows to join: 1 where a row is a document, else as many lines as make one of usual size."""
    sizes = [len(t.encode("utf-8", "replace")) for t in texts]
    broken = sum("\n" in t for t in texts)
    if statistics.median(sizes) >= LINE_BYTES or broken > len(texts) / 20:
        return 1
    exact = DOCUMENT_BYTES / max(1.0, statistics.fmean(sizes))
    return min((5, 10, 20, 50, 100), key=lambda n: abs(n - exact))


def _column(found: FirstRows, asked: str | None, source: str, ask: Ask | None) -> tuple[str, list[str]]:
    """Return the column that holds the text, and the others that might."""
    if found.columns == [""]:
        if asked:
            raise SearchError(f"--column is {asked}, but {source} has no columns: every line is a row; leave it out")
        return "", []
    textual = [c for c in found.columns if _is_text([row.get(c) for row in found.rows])]
    if asked is not None:
        if asked not in found.columns:
            raise SearchError(f"--column is {asked}, but the columns of {source} are {', '.join(found.columns)}")
        return asked, [c for c in textual if c != asked]
    likely = [c for c in CONVENTIONAL if c in textual][:1] if len(textual) > 1 else textual
    if not likely and textual and ask is not None:
        likely = [ask(f"{source}: which column holds the text", textual)]
    if not likely:
        if textual:
            raise SearchError(f"{source}: the text may be any of {', '.join(textual)}; say which with --column")
        raise SearchError(
            f"{source}: no column looks like prose (there is {', '.join(found.columns)}); "
            "name the one to train on with --column, or another text with --data"
        )
    return likely[0], [c for c in textual if c != likely[0]]


def _is_text(values: Sequence[object]) -> bool:
    """Return whether these are words in rows, not names, numbers or dates."""
    texts = [v for v in values if isinstance(v, str) and v.strip()]
    if not texts or any(v is not None and not isinstance(v, str) for v in values):
        return False
    worded = sum(len(re.findall(r"[^\W\d_]{1,}", t)) >= 3 for t in texts)
    unspaced = sum(len(t) >= 20 and not t.isascii() for t in texts)  # scripts that write no spaces
    return max(worded, unspaced) > len(texts) / 2 and len(set(texts)) > len(texts) / 2
