"""The first rows of a source with all columns, and the amount of its text, within seconds whatever its size."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.data.sources import HUB, builtin_prose, hub_name
from model.data.text_files import json_object, lines, local_files, short
from model.errors import DataError

ROWS = 400
"""Rows that are read."""
MOST_BYTES = 1 << 22
"""Bytes after which no more of these rows are read: a row may be a book."""

COUNTED_BYTES = 64_000_000
"""Total size of files up to which their rows are counted; else they are estimated."""

GROUPS = 20
"""Row groups of a parquet file that are read, about."""


@dataclass(frozen=True, kw_only=True)
class FirstRows:
    """The first rows of a source, and estimates of its size."""

    rows: Sequence[Mapping[str, Any]]
    """Rows by column; a line of a .txt file, or a built-in text, has one column, ""."""
    count: float | None
    """Number of all rows, exact or estimated from sizes; None if it isn't known."""
    exact: bool
    """Whether that number was counted."""
    read_share: float | None = None
    """Share of the source's bytes that these rows take; None if its files don't consist of lines."""
    column_bytes: Mapping[str, float] = field(default_factory=dict)
    """Sizes of a parquet file's columns, by its own metadata: below the text's size if values repeat."""
    splits: Mapping[str, int | None] = field(default_factory=dict)
    """Splits of a data set of the hub, with the number of their rows, or None."""

    @property
    def columns(self) -> list[str]:
        """Every column that some row has, in order."""
        return list(dict.fromkeys(name for row in self.rows for name in row))


def first_rows(source: str, most: int = ROWS) -> FirstRows:
    """Return the first rows of a source; raises `DataError` if it can't be read or has none."""
    if source == "builtin":
        texts = builtin_prose()
        preview = FirstRows(rows=[{"": t} for t in texts[:most]], count=len(texts), exact=True)
    elif source.startswith(HUB):
        preview = _of_hub(hub_name(source), most)
    else:
        preview = _of_files(local_files(source), most)
    if not preview.rows:
        raise DataError(f"{source} holds no rows: is it the right file?")
    return preview


def _of_files(files: Sequence[Path], most: int) -> FirstRows:
    """Read the first file that holds rows; the others, unless counted, are taken to be like it."""
    total = sum(f.stat().st_size for f in files)
    for file in files:
        try:
            rows, size, count = {".txt": _txt, ".jsonl": _jsonl, ".parquet": _parquet}[file.suffix](file, most)
        except OSError as error:
            raise DataError(f"{file}: can't be read: {error.strerror or short(error)}") from None
        if rows:
            share = total / max(1, file.stat().st_size)
            has_lines = all(f.suffix != ".parquet" for f in files)
            if has_lines:
                count = _count_lines(files) if total <= COUNTED_BYTES else None
            return FirstRows(
                rows=rows,
                count=total / (size / len(rows)) if count is None else count if has_lines else count * share,
                exact=count is not None and (has_lines or len(files) == 1),
                read_share=min(1.0, size / total) if has_lines else None,
                column_bytes={k: v * share for k, v in _column_bytes(file).items()},
            )
    return FirstRows(rows=[], count=0, exact=True)


def _txt(file: Path, most: int) -> tuple[list[Mapping[str, Any]], int, int | None]:
    rows = [{"": text} for _, text in _first_lines(file, most)]
    size = sum(len(str(row[""]).encode()) + 1 for row in rows)
    return list(rows), size, None


def _jsonl(file: Path, most: int) -> tuple[list[Mapping[str, Any]], int, int | None]:
    rows, size = list[Mapping[str, Any]](), 0
    for place, line in _first_lines(file, most):
        size += len(line.encode()) + 1
        if not line.strip():
            continue
        rows.append(json_object(line, place))
    return rows, size, None


def _count_lines(files: Sequence[Path]) -> int:
    """Return the number of rows of files of lines; a blank line is a row in a .txt file only."""
    rows = 0
    for file in files:
        try:
            with file.open("rb") as file_lines:
                rows += sum(1 for line in file_lines if file.suffix == ".txt" or line.strip())
        except OSError as error:
            raise DataError(f"{file}: can't be read: {error.strerror}") from None
    return rows


def _first_lines(file: Path, most: int) -> Iterator[tuple[str, str]]:
    size = 0
    for place, line in itertools.islice(lines(file), most):
        yield place, line
        size += len(line)
        if size > MOST_BYTES:
            return


def _parquet(file: Path, most: int) -> tuple[list[Mapping[str, Any]], int, int | None]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            groups = range(0, table.num_row_groups, max(1, table.num_row_groups // GROUPS))
            rows = list[Mapping[str, Any]]()
            for group in groups:  # from all over the file, which may begin with one of several parts
                batch = next(table.iter_batches(batch_size=max(1, most // len(groups)), row_groups=[group]), None)
                rows += batch.to_pylist() if batch is not None else []
            return rows, file.stat().st_size, table.metadata.num_rows
    except UnicodeDecodeError:
        raise DataError(f"{file}: a column of text is not UTF-8") from None
    except RecursionError:
        raise DataError(f"{file}: a column is lists nested too deeply to be read; leave it out") from None
    except pyarrow.ArrowException as error:
        raise DataError(f"{file}: not a parquet file, or a damaged one: {str(error).splitlines()[0]}") from None


def _column_bytes(file: Path) -> dict[str, float]:
    """Return the sizes of a parquet file's columns of text, without the four bytes of each value's length."""
    if file.suffix != ".parquet":
        return {}
    import pyarrow.parquet

    meta = pyarrow.parquet.read_metadata(file)
    sizes = dict[str, float]()
    for group in map(meta.row_group, range(meta.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            if column.physical_type == "BYTE_ARRAY":
                name = column.path_in_schema
                sizes[name] = sizes.get(name, 0.0) + column.total_uncompressed_size - 4.0 * column.num_values
    return sizes


def _of_hub(name: str, most: int) -> FirstRows:
    """Stream the first rows, without downloading the whole data set."""
    import datasets

    try:
        parts = datasets.load_dataset(name, streaming=True)
        split = "train" if "train" in parts else next(iter(parts))
        rows = list(parts[split].take(most))
        infos = parts[split].info.splits or {}
    except Exception as error:  # the library's errors have no common base
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(f"{HUB}{name}: can't be looked into: {reason}. Check the name, the network, HF_TOKEN") from None
    counts = {key: getattr(infos.get(key), "num_examples", None) or None for key in parts}
    count = len(rows) if len(rows) < most else None
    return FirstRows(rows=rows, count=counts[split] or count, exact=True, splits=counts)
