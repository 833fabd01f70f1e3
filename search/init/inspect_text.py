"""Inspection of a text by its first rows: its column, whether a row is a document or a line of one, its size."""

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from model.data.preview import FirstRows, first_rows
from model.data.sources import one_row_message
from model.errors import DataError
from search.common.errors import SearchError

Ask = Callable[[str, list[str]], str]
"""Asks a person a question with these answers; returns the answer."""

LINE_BYTES = 400
"""Median length of rows below which they are lines of a document, unless they contain line breaks."""
DOCUMENT_BYTES = 2500
"""Approximate size of the documents into which lines are joined, so that the network sees what belongs together."""
PIECES = 40
"""Least number of pieces of a text of one row, so that some can be held out."""
LEAST_PIECE = 100
"""Least bytes of a piece."""
CONVENTIONAL = ("text", "story", "content")
"""Usual names of the column with the text."""
VALIDATION = ("validation", "valid", "dev", "test")
"""Usual names of the split to validate on."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """Properties of a text, measured or estimated from its first rows."""

    source: str
    column: str | None
    """Column with the text; None if the source has no columns."""
    others: Sequence[str]
    """Other columns that hold text."""
    first: Sequence[str]
    """The first rows that aren't empty."""
    row_bytes: float
    """Mean bytes of a row."""
    rows: float | None
    """Number of rows; None if it isn't known."""
    exact: bool
    """Whether the rows were counted."""
    rows_per_document: int
    total_bytes: float | None
    """Bytes of all text; None if the number of rows isn't known."""
    beginning: Sequence[str] = ()
    """All rows that were read, without empty ones."""
    least_vocabulary: int = 320
    """Smallest vocabulary that holds its characters, once that has been tried."""
    most_vocabulary: int = 65_536
    """Largest vocabulary that it is enough for, once that has been tried."""
    max_row_bytes: int | None = None
    """Most bytes of the pieces into which its only row is cut; None if it has several rows."""
    split: str = "train"
    validation_split: str | None = None


def inspect(source: str, column: str | None, ask: Ask | None) -> Text:
    """Inspect a text by its first rows; raises `SearchError` or `DataError` if its column can't be determined."""
    preview = first_rows(source)
    chosen, others = _column(preview, column, source, ask)
    texts = [str(row[chosen]) for row in preview.rows if isinstance(row.get(chosen), str)]
    nonempty = [t for t in texts if t.strip()]
    if not nonempty:
        raise SearchError(f"{source}: {_no_text(preview, chosen)}")
    split = "train" if "train" in preview.splits or not preview.splits else next(iter(preview.splits))
    row_bytes = statistics.fmean(len(t.encode("utf-8", "replace")) for t in texts)
    total = None if preview.count is None else preview.count * row_bytes
    stored = preview.column_bytes.get(chosen, 0.0)
    if preview.read_share:  # by bytes, not by rows: one of them may be longer than all others
        stored = row_bytes * len(texts) / preview.read_share
    if total is not None and (
        preview.read_share or stored > total / 2
    ):  # else a parquet file stores repeated values once
        total, row_bytes = stored, stored / max(1.0, preview.count or 1.0)
    return Text(
        source=source,
        column=chosen or None,
        others=others,
        first=nonempty[:3],
        row_bytes=row_bytes,
        total_bytes=total,
        rows=preview.count,
        exact=preview.exact,
        rows_per_document=rows_per_document(nonempty),
        beginning=nonempty,
        split=split,
        validation_split=next((s for s in VALIDATION if s in preview.splits and s != split), None),
    )


def cut(text: Text) -> Text:
    """Return the text; if it is one long row, cut into pieces of a document's usual size, or smaller ones if few.

    Raises `DataError` if it is too short to be cut.
    """
    if text.rows is None or text.rows >= 2 or text.validation_split:
        return text
    total = text.total_bytes or 0.0
    most = max(LEAST_PIECE, min(DOCUMENT_BYTES, int(total / PIECES)))
    if total < 2 * most:
        raise DataError(one_row_message(text.source))
    pieces = total / most
    return replace(text, max_row_bytes=most, rows=pieces, exact=False, row_bytes=total / pieces, rows_per_document=1)


def _no_text(preview: FirstRows, column: str) -> str:
    number = len(preview.rows)
    if not column:
        lines = f"first {number} lines are" if number != 1 else "only line is"
        return f"its {lines} blank; name another text with --data"
    return f"the first {number} rows of `{column}` hold no text; name another column"


def rows_per_document(texts: Sequence[str]) -> int:
    """Return how many rows to join: 1 if a row is a document, else as many lines as make one of usual size."""
    sizes = [len(t.encode("utf-8", "replace")) for t in texts]
    broken = sum("\n" in t for t in texts)
    if statistics.median(sizes) >= LINE_BYTES or broken > len(texts) / 20:
        return 1
    exact = DOCUMENT_BYTES / max(1.0, statistics.fmean(sizes))
    return min((5, 10, 20, 50, 100), key=lambda n: abs(n - exact))


def _column(preview: FirstRows, asked: str | None, source: str, ask: Ask | None) -> tuple[str, list[str]]:
    """Return the column that holds the text, and the others that might."""
    if preview.columns == [""]:
        if asked:
            raise SearchError(f"--column is {asked}, but {source} has no columns: every line is a row; leave it out")
        return "", []
    textual = [c for c in preview.columns if _is_text([row.get(c) for row in preview.rows])]
    if asked is not None:
        if asked not in preview.columns:
            raise SearchError(f"--column is {asked}, but the columns of {source} are {', '.join(preview.columns)}")
        return asked, [c for c in textual if c != asked]
    likely = [c for c in CONVENTIONAL if c in textual][:1] if len(textual) > 1 else textual
    if not likely and textual and ask is not None:
        likely = [ask(f"{source}: which column holds the text", textual)]
    if not likely:
        if textual:
            raise SearchError(f"{source}: the text may be any of {', '.join(textual)}; say which with --column")
        raise SearchError(
            f"{source}: no column looks like prose (there is {', '.join(preview.columns)}); "
            "name the one to train on with --column, or another text with --data"
        )
    return likely[0], [c for c in textual if c != likely[0]]


def _is_text(values: Sequence[object]) -> bool:
    """Return whether these values are prose, not names, numbers or dates."""
    texts = [v for v in values if isinstance(v, str) and v.strip()]
    if not texts or any(v is not None and not isinstance(v, str) for v in values):
        return False
    worded = sum(len(re.findall(r"[^\W\d_]{1,}", t)) >= 3 for t in texts)
    unspaced = sum(len(t) >= 20 and not t.isascii() for t in texts)  # of scripts without spaces
    return max(worded, unspaced) > len(texts) / 2 and len(set(texts)) > len(texts) / 2
