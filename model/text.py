"""Where documents come from: built-in prose, local files, Hugging Face data sets."""

import ast
import glob
import hashlib
import json
import platform
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from model.config import DataConfig
from model.errors import DataError

Part = Literal["train", "validation"]
HUB = "hf:"
SUFFIXES = (".txt", ".jsonl", ".parquet")


def documents(config: DataConfig) -> Iterator[tuple[Part, str]]:
    """Yield every document with the part it belongs to; raises `DataError` for text that can't be used."""
    counts: dict[Part, int] = {"train": 0, "validation": 0}
    for part, text in _grouped(config):
        if text:
            counts[part] += 1
            yield part, text
    if not sum(counts.values()):
        raise DataError(f"{config.source} holds no text: no row of column `{config.column}` has any")
    for part, count in counts.items():
        if not count:
            raise DataError(
                f"{config.source}: no document is left for {part}; all {sum(counts.values())} fall on the other side. "
                "Change `holdout_period` and `holdout_rows`, or name a `validation_split`."
            )


def fingerprint(config: DataConfig) -> str:
    """Return a cheap identity of the source as it is now: changes when its files or its reading change."""
    if config.source == "builtin":
        state: Any = platform.python_version()
    elif config.source.startswith(HUB):
        import datasets

        state = datasets.__version__
    else:
        state = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in local_files(config.source)]
    return hashlib.sha256(json.dumps([config.table(), state]).encode()).hexdigest()


def _grouped(config: DataConfig) -> Iterator[tuple[Part, str]]:
    """Join neighbouring rows of one part; a document never straddles training and validation."""
    group: list[str] = []
    held: Part | None = None
    for part, row in _rows(config):
        if held is not None and (part != held or len(group) == config.rows_per_document):
            yield held, "\n".join(group)
            group = []
        held = part
        group.append(row)
    if held is not None:
        yield held, "\n".join(group)


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

    texts = dict.fromkeys(str(t).strip() for t in topics.values())
    texts |= dict.fromkeys(_docstrings())
    yield from sorted((t for t in texts if len(t) > 40), key=lambda t: hashlib.sha256(t.encode()).digest())


def _docstrings() -> Iterator[str]:
    root = Path(sysconfig.get_path("stdlib"))
    skipped = {"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__", "pydoc_data"}
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if skipped & set(inside.parts) or inside.parts[0].removesuffix(".py") not in sys.stdlib_module_names:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8", errors="ignore"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield (ast.get_docstring(node) or "").strip()


def local_files(source: str) -> list[Path]:
    """Return the files that a path or glob names, sorted; raises `DataError` when there are none to read."""
    pattern = str(Path(source).expanduser())
    files = [Path(f) for f in sorted(glob.glob(pattern, recursive=True)) if Path(f).is_file()]  # noqa: PTH207
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
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: not UTF-8 text (byte {error.start}); convert it first, with iconv say") from None
        except OSError as error:
            raise DataError(f"{file}: can't be read: {error.strerror or error}") from None


def _txt_rows(file: Path, column: str) -> Iterator[str]:
    with file.open(encoding="utf-8", newline="") as lines:
        for line in lines:
            yield line.removesuffix("\n").removesuffix("\r")


def _jsonl_rows(file: Path, column: str) -> Iterator[str]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{file}, line {number}: not JSON: {error.msg}") from None
            if not isinstance(row, dict) or column not in row:
                there = ", ".join(map(str, row)) if isinstance(row, dict) else "no keys"
                raise DataError(
                    f"{file}, line {number}: has no key `{column}`; there are: {there}. Name one with --column"
                )
            yield _text(row[column], file, number, column)


def _parquet_rows(file: Path, column: str) -> Iterator[str]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(file)
    except pyarrow.ArrowException as error:
        raise DataError(f"{file}: not a parquet file: {error}") from None
    if column not in table.schema_arrow.names:
        there = ", ".join(table.schema_arrow.names)
        raise DataError(f"{file}: has no column `{column}`; there are: {there}. Name one with --column")
    number = 0
    for batch in table.iter_batches(columns=[column]):
        for value in batch.column(0).to_pylist():
            number += 1
            yield _text(value, file, number, column)


def _text(value: Any, file: Path | str, number: int, column: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{file}, row {number}: `{column}` is {value!r:.40}, but must be text")
    return value


def _hub_rows(config: DataConfig, split: str) -> Iterator[str]:
    import datasets

    name = config.source.removeprefix(HUB)
    try:
        table = datasets.load_dataset(name, split=split)
    except Exception as error:  # the library's errors have no common base; all of them end the preparation
        raise DataError(f"{config.source}, split {split!r}: can't be loaded: {_short(error)}") from None
    if config.column not in table.column_names:
        there = ", ".join(table.column_names)
        raise DataError(f"{config.source}: has no column `{config.column}`; there are: {there}. Name one with --column")
    for number, row in enumerate(table.select_columns([config.column]), start=1):
        yield _text(row[config.column], config.source, number, config.column)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}"
