"""Local files of text: those that a path or glob names, and the rows of each kind."""

import glob
import json
import os
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from model.config import DataConfig
from model.errors import DataError

SUFFIXES = (".txt", ".jsonl", ".parquet")
ROWS_AT_ONCE = 1000
"""Rows of a column that are read at once, which limits the memory of long rows."""
READ_AT_ONCE = 1 << 20
"""Bytes of a parquet file that are read at once; by default a whole row group is, which may be the whole file."""
ARRAY = "the rows of one JSON array come on lines of their own by: jq -c '.[]' FILE > NEW-FILE.jsonl"


def local_files(source: str) -> list[Path]:
    """Return the files that a path or glob names, sorted; raises `DataError` when there are none to read."""
    files = [Path(f) for f in sorted(glob.glob(_pattern(source), recursive=True)) if Path(f).is_file()]  # noqa: PTH207
    if not files:
        raise DataError(
            f"no file matches {source}; give a path or glob of {', '.join(SUFFIXES)}, hf:ORG/NAME, or builtin"
        )
    for file in files:
        if file.suffix not in SUFFIXES:
            raise DataError(f"{file}: files of this kind can't be read; the kinds that can are {', '.join(SUFFIXES)}")
    return files


def expanded(source: str) -> Path:
    """Return a path with a leading ~ expanded, unless no user has that name: then a file may be called so."""
    return Path(os.path.expanduser(source))  # noqa: PTH111


def _pattern(source: str) -> str:
    """Return a source as a glob pattern; names of existing files are escaped, since [1] or * may be part of them."""
    path = expanded(source)
    existing, parts = Path(path.anchor), path.relative_to(path.anchor).parts
    while parts and os.path.lexists(existing / parts[0]):
        existing, parts = existing / parts[0], parts[1:]
    return str(Path(glob.escape(str(existing)), *parts))


def local_rows(config: DataConfig) -> Iterator[str]:
    """Yield the rows of a source's files, in order."""
    readers = {".txt": _txt_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}
    for file in local_files(config.source):
        try:
            yield from readers[file.suffix](file, config.column)
        except OSError as error:
            raise DataError(f"{file}: can't be read: {error.strerror or short(error)}") from None


def lines(file: Path) -> Iterator[tuple[str, str]]:
    r"""Yield each line's place, for messages, and its text without \n or \r\n; no other sign ends a line."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            place = f"{file}, line {number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{place}: not UTF-8 text (byte {error.start + 1} of the line); convert the file first, "
                    "with iconv say"
                ) from None
            yield place, text.removesuffix("\r\n").removesuffix("\n")


def _txt_rows(file: Path, column: str) -> Iterator[str]:
    return (line for _, line in lines(file))


def _jsonl_rows(file: Path, column: str) -> Iterator[str]:
    for place, line in lines(file):
        if not line.strip():
            continue  # often the last one
        row = json_object(line, place)
        check_column("key", column, list(row), place)
        value = _text(row[column], place, column)
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise DataError(f"{place}: `{column}` holds half a surrogate pair (\\ud800 to \\udfff), not text") from None
        yield value


def json_object(line: str, place: str) -> dict[str, Any]:
    """Return the object that a line of JSON is; raises `DataError` for anything else."""
    try:
        row = json.loads(line)
    except RecursionError:
        raise DataError(f"{place}: its lists or objects are nested too deeply to be read; leave them out") from None
    except ValueError as error:
        cure = f"; {ARRAY}" if line.lstrip().startswith("[") else ""
        raise DataError(f"{place}: not JSON: {getattr(error, 'msg', error)}{cure}") from None
    if not isinstance(row, dict):
        cure = f". {ARRAY[0].upper()}{ARRAY[1:]}" if isinstance(row, list) else ""
        raise DataError(f"{place}: is {type(row).__name__}, but must be an object with keys{cure}")
    return row


def text_at(row: Mapping[str, Any], key: str, place: str) -> str:
    """Return the text that an object has under a key; raises `DataError` if there is none, or what is no text."""
    if key not in row:
        raise DataError(f"{place}: has no `{key}`; there are: {', '.join(map(str, row)) or 'no keys'}")
    value = row[key]
    if not isinstance(value, str):
        raise DataError(f"{place}: `{key}` is {value!r:.40}, but must be text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"{place}: `{key}` holds half a surrogate pair (\\ud800 to \\udfff), not text") from None
    return value


def _parquet_rows(file: Path, column: str) -> Iterator[str]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file, buffer_size=READ_AT_ONCE, pre_buffer=False) as table:
            check_column("column", column, table.schema_arrow.names, file)
            batches = table.iter_batches(batch_size=ROWS_AT_ONCE, columns=[column])
            yield from values(batches, file, column)
    except (pyarrow.ArrowException, ValueError) as error:  # ValueError: odd names of columns
        raise DataError(f"{file}: not a parquet file, or a damaged one: {short(error)}") from None


def check_column(kind: str, column: str, names: list[str], place: Path | str) -> None:
    """Raise `DataError` if there is no column, or key, of this name."""
    if column not in names:
        cure = "; name one with --column, or `column` in [data]" if names else ""
        raise DataError(f"{place}: has no {kind} `{column}`; there are: {', '.join(names) or 'none'}{cure}")


def values(batches: Iterable[Any], place: Path | str, column: str) -> Iterator[str]:
    """Yield the only column of Arrow batches or tables, row by row."""
    number = 0
    for batch in batches:
        try:
            column_values = batch.column(0).to_pylist()
        except UnicodeDecodeError:
            raise DataError(f"{place}: `{column}` is not UTF-8 text in some row after {number}") from None
        except RecursionError:
            raise DataError(f"{place}: `{column}` is lists nested too deeply to be read, but must be text") from None
        for value in column_values:
            number += 1
            yield _text(value, f"{place}, row {number}", column)


def _text(value: Any, place: str, column: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{place}: `{column}` is {reprlib.repr(value):.40}, but must be text")
    return value


def short(error: Exception) -> str:
    """Return an error of a library as one line."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no reason given'}"
