"""Where documents come from: built-in prose, local files, Hugging Face data sets."""

import ast
import contextlib
import glob
import hashlib
import json
import logging
import platform
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from model.config import DataConfig
from model.errors import DataError

Part = Literal["train", "validation"]
PARTS: tuple[Part, ...] = ("train", "validation")
HUB = "hf:"
SUFFIXES = (".txt", ".jsonl", ".parquet")
ROWS_AT_ONCE = 1000  # of a column: bounds the memory of long rows
READ_AT_ONCE = 1 << 20  # bytes of a parquet file; by default a whole row group, which may be the whole file
READING = 1  # raise it when the same source comes to give other documents: what was read before is then read anew


def documents(config: DataConfig) -> Iterator[tuple[Part, str]]:
    """Yield every document with the part it belongs to, in the source's order; every one can be written as UTF-8.

    Row i of the source is held out for validation when i % holdout_period < holdout_rows, unless a
    `validation_split` is named. Raises `DataError` for text that can't be used, at the end for an empty part.
    """
    rows: Counter[Part] = Counter()
    found: Counter[Part] = Counter()
    for part, group in _grouped(config):
        rows[part] += len(group)
        if document := "\n".join(group):
            found[part] += 1
            yield part, document
    if not found:
        raise DataError(f"{config.source} holds no text: {rows.total()} rows, all of them empty")
    for part in PARTS:
        if not found[part]:
            raise DataError(_nothing_left(config, part, rows))


def _nothing_left(config: DataConfig, part: Part, rows: Counter[Part]) -> str:
    if config.validation_split is not None:
        key, split = ("split", config.split) if part == "train" else ("validation_split", config.validation_split)
        return f"{config.source}: split {split!r} has no text for {part}; name another one with `{key}`"
    return (
        f"{config.source}: no document is left for {part}: of {rows.total()} rows, {rows['validation']} are held out. "
        f"Change `holdout_period` ({config.holdout_period}) and `holdout_rows` ({config.holdout_rows})"
    )


def fingerprint(config: DataConfig) -> str:
    """Return a cheap identity of the source as it is now: changes when its files or its reading change.

    A data set of the hub is taken to stay what it was when it was first read: it may be out of reach.
    """
    return hashlib.sha256(json.dumps([READING, config.table(), _state(config)]).encode()).hexdigest()


def _state(config: DataConfig) -> list[Any]:
    if config.source == "builtin":
        return [platform.python_version(), sysconfig.get_path("stdlib")]
    if config.source.startswith(HUB):
        import datasets

        folder = Path(config.source.removeprefix(HUB))
        return [datasets.__version__, *_stamps(sorted(f for f in folder.rglob("*") if f.is_file()))]
    return _stamps(local_files(config.source))


def _stamps(files: Iterable[Path]) -> list[Any]:
    return [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]


def _grouped(config: DataConfig) -> Iterator[tuple[Part, list[str]]]:
    """Group neighbouring rows of one part; a document never straddles training and validation."""
    group: list[str] = []
    held: Part | None = None
    for part, row in _rows(config):
        if held is not None and (part != held or len(group) == config.rows_per_document):
            yield held, group
            group = []
        held = part
        group.append(row)
    if held is not None:
        yield held, group


def _rows(config: DataConfig) -> Iterator[tuple[Part, str]]:
    if config.validation_split is not None:
        if not config.source.startswith(HUB):
            raise DataError(
                f"`validation_split` is {config.validation_split!r}, but only hf: data sets have splits; "
                "hold out rows of your files with `holdout_period` and `holdout_rows`"
            )
        for row in _hub_rows(config, config.split):
            yield "train", row
        for row in _hub_rows(config, config.validation_split):
            yield "validation", row
        return
    for index, row in enumerate(_source_rows(config)):
        yield ("validation" if index % config.holdout_period < config.holdout_rows else "train"), row


def _source_rows(config: DataConfig) -> Iterator[str]:
    if config.source == "builtin":
        return builtin_prose()
    if config.source.startswith(HUB):
        return _hub_rows(config, config.split)
    return _local_rows(config)


def builtin_prose() -> Iterator[str]:
    """Yield the English prose that every Python carries: help topics, then the standard library's docstrings.

    In a fixed order that mixes long and short, each text once; modules are parsed, never imported.
    """
    from pydoc_data.topics import topics

    texts = {str(t).strip() for t in topics.values()} | set(_docstrings())
    yield from sorted((t for t in texts if len(t) > 40), key=lambda t: hashlib.sha256(t.encode()).digest())


def _docstrings() -> Iterator[str]:
    root = Path(sysconfig.get_path("stdlib"))
    skipped = {"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__", "pydoc_data"}
    for path in root.rglob("*.py"):
        inside = path.relative_to(root)
        if skipped & set(inside.parts) or inside.parts[0].removesuffix(".py") not in sys.stdlib_module_names:
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield (ast.get_docstring(node) or "").strip()


def local_files(source: str) -> list[Path]:
    """Return the files that a path or glob names, sorted; raises `DataError` when there are none to read."""
    pattern = str(Path(source).expanduser())
    # A name is taken as it is before it is taken as a pattern: [1] may be part of it.
    names = [pattern] if Path(pattern).is_file() else sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
    files = [Path(f) for f in names if Path(f).is_file()]
    if not files:
        raise DataError(
            f"no file matches {source}; give a path or glob of {', '.join(SUFFIXES)}, hf:ORG/NAME, or builtin"
        )
    for file in files:
        if file.suffix not in SUFFIXES:
            raise DataError(f"{file}: files of this kind can't be read; the kinds that can are {', '.join(SUFFIXES)}")
    return files


def _local_rows(config: DataConfig) -> Iterator[str]:
    readers = {".txt": _txt_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}
    for file in local_files(config.source):
        try:
            yield from readers[file.suffix](file, config.column)
        except OSError as error:
            raise DataError(f"{file}: can't be read: {error.strerror or _short(error)}") from None


def lines(file: Path) -> Iterator[tuple[str, str]]:
    r"""Yield each line, without its \n or \r\n, after its place for messages; no other sign ends a line."""
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
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{place}: not JSON: {getattr(error, 'msg', error)}") from None
        if not isinstance(row, dict) or column not in row:
            there = ", ".join(map(str, row)) if isinstance(row, dict) else "no keys"
            raise DataError(f"{place}: has no key `{column}`; there are: {there}. Name one with --column")
        value = _text(row[column], place, column)
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise DataError(f"{place}: `{column}` holds half a surrogate pair (\\ud800 to \\udfff), not text") from None
        yield value


def _parquet_rows(file: Path, column: str) -> Iterator[str]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file, buffer_size=READ_AT_ONCE, pre_buffer=False) as table:
            _check_column(column, table.schema_arrow.names, file)
            batches = table.iter_batches(batch_size=ROWS_AT_ONCE, columns=[column])
            yield from _values(batches, file, column)
    except pyarrow.ArrowException as error:
        raise DataError(f"{file}: not a parquet file, or a damaged one: {_short(error)}") from None


def _hub_rows(config: DataConfig, split: str) -> Iterator[str]:
    import datasets

    name, column = config.source.removeprefix(HUB), config.column
    try:
        with _without_retry_notes():
            table = datasets.load_dataset(name, split=split)
    except Exception as error:  # the library's errors have no common base; all of them end the preparation
        raise DataError(f"{config.source}, split {split!r}: can't be loaded: {_short(error)}") from None
    _check_column(column, table.column_names, config.source)
    batches = table.select_columns([column]).with_format("arrow").iter(batch_size=ROWS_AT_ONCE)
    yield from _values(batches, f"{config.source}, split {split!r}", column)


@contextlib.contextmanager
def _without_retry_notes() -> Iterator[None]:
    """Each try to reach the hub is logged twice; what is to be known of them is in the error."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _check_column(column: str, names: list[str], place: Path | str) -> None:
    if column not in names:
        raise DataError(f"{place}: has no column `{column}`; there are: {', '.join(names)}. Name one with --column")


def _values(batches: Iterable[Any], place: Path | str, column: str) -> Iterator[str]:
    """Yield the only column of Arrow batches or tables, row by row."""
    number = 0
    for batch in batches:
        try:
            values = batch.column(0).to_pylist()
        except UnicodeDecodeError:
            raise DataError(f"{place}: `{column}` is not UTF-8 text in some row after {number}") from None
        for value in values:
            number += 1
            yield _text(value, f"{place}, row {number}", column)


def _text(value: Any, place: str, column: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{place}: `{column}` is {value!r:.40}, but must be text")
    return value


def _short(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no reason given'}"
