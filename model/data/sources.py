"""Sources of documents: built-in prose, local files, Hugging Face data sets."""

import ast
import contextlib
import functools
import glob
import hashlib
import json
import logging
import os
import platform
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from model.config import DataConfig
from model.data.text_files import ROWS_AT_ONCE, check_column, local_files, local_rows, short, values
from model.errors import DataError

Part = Literal["train", "validation"]
PARTS: tuple[Part, ...] = ("train", "validation")
HUB = "hf:"
READING = 1
"""Version of reading; raise it when the same source gives other documents, so that cached ones are read again."""


def documents(config: DataConfig) -> Iterator[tuple[Part, str]]:
    """Yield every document with the part it belongs to, in the source's order; every one can be written as UTF-8.

    Row i of the source, cut by `max_row_bytes`, is held out for validation when i % holdout_period < holdout_rows,
    unless a `validation_split` is named. Raises `DataError` for text that can't be used, at the end for an empty part.
    """
    rows: Counter[Part] = Counter()
    documents_in: Counter[Part] = Counter()
    first = last = -1  # indices of the rows that hold text
    for part, group in _grouped(config):
        for number, row in enumerate(group, start=rows.total()):
            if row:
                first, last = number if first < 0 else first, number
        rows[part] += len(group)
        if document := "\n".join(group):
            documents_in[part] += 1
            yield part, document
    if not documents_in:
        raise DataError(f"{config.source} holds no text: {rows.total()} rows, all of them empty")
    for part in PARTS:
        if not documents_in[part]:
            raise DataError(_nothing_left(config, part, rows, first, last))


def one_row_message(source: str) -> str:
    """Return the error message, with its remedy, for a text of which only one row holds anything."""
    return (
        f"{source} holds one row of text, but needs two or more: one to train on, one to measure BPB on. "
        "`max_row_bytes = 2500` in [data] cuts a long row into pieces"
    )


def _nothing_left(config: DataConfig, part: Part, rows: Counter[Part], first: int, last: int) -> str:
    """Return the error message for an empty part, with settings under which neither is empty.

    They hold out the first row with text (index `first`), and not the last.
    """
    if config.validation_split is not None:
        key, split = ("split", config.split) if part == "train" else ("validation_split", config.validation_split)
        return f"{config.source}: split {split!r} has no text for {part}; name another one with `{key}`"
    if first == last:
        return one_row_message(config.source)
    return (
        f"{config.source}: no document is left for {part}: of {rows.total()} rows, {rows['validation']} are held out. "
        f"Change `holdout_period` ({config.holdout_period}) and `holdout_rows` ({config.holdout_rows}) in [data], "
        f"to {last + 1} and {first + 1} say"
    )


def fingerprint(config: DataConfig) -> str:
    """Return a cheap identity of the source, which changes when its files or its reading change.

    A data set of the hub is taken to be unchanged since it was first read: the hub may be unreachable.
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
    group_part: Part | None = None
    for part, row in _rows(config):
        if group_part is not None and (part != group_part or len(group) == config.rows_per_document):
            yield group_part, group
            group = []
        group_part = part
        group.append(row)
    if group_part is not None:
        yield group_part, group


def _rows(config: DataConfig) -> Iterator[tuple[Part, str]]:
    if config.validation_split is not None:
        if not config.source.startswith(HUB):
            raise DataError(
                f"`validation_split` is {config.validation_split!r}, but only hf: data sets have splits; "
                "hold out rows of your files with `holdout_period` and `holdout_rows`"
            )
        for row in _cut(_hub_rows(config, config.split), config.max_row_bytes):
            yield "train", row
        for row in _cut(_hub_rows(config, config.validation_split), config.max_row_bytes):
            yield "validation", row
        return
    for index, row in enumerate(_cut(_source_rows(config), config.max_row_bytes)):
        yield ("validation" if index % config.holdout_period < config.holdout_rows else "train"), row


def _cut(rows: Iterator[str], most: int | None) -> Iterator[str]:
    """Cut rows into pieces of `most` bytes at most: after a line or else a word that ends in a piece's second half."""
    for row in rows:
        raw, begin = b"" if most is None else row.encode("utf-8"), 0
        while most is not None and len(raw) - begin > most:
            half, end = begin + most // 2, begin + most
            after = raw.rfind(b"\n", half, end) + 1 or raw.rfind(b" ", half, end) + 1
            while not after and raw[end] & 0xC0 == 0x80:  # inside a character
                end -= 1
            yield raw[begin : after or end].decode("utf-8")
            begin = after or end
        yield raw[begin:].decode("utf-8") if begin else row


def _source_rows(config: DataConfig) -> Iterator[str]:
    if config.source == "builtin":
        return iter(builtin_prose())
    if config.source.startswith(HUB):
        return _hub_rows(config, config.split)
    return local_rows(config)


@functools.cache
def builtin_prose() -> tuple[str, ...]:
    """Return the English prose that comes with Python: help topics and the standard library's docstrings.

    Each text comes once, in a fixed order that mixes both and all lengths; modules are parsed, never imported, which
    takes seconds: the texts are kept.
    """
    from pydoc_data.topics import topics

    texts = {str(t).strip() for t in topics.values()}
    texts.update(text for path in _standard_library() for text in docstrings(path.read_bytes()))
    return tuple(sorted((t for t in texts if len(t) > 40), key=lambda t: hashlib.sha256(t.encode()).digest()))


def docstrings(source: bytes) -> Iterator[str]:
    """Yield the docstrings of a module and of every class and function in it, in no order; "" where there is none."""
    statements: list[ast.AST] = [ast.parse(source)]
    while statements:  # expressions are most of a tree, and hold none
        node = statements.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield (ast.get_docstring(node) or "").strip()
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            statements += getattr(node, part, ())


def _standard_library() -> Iterator[Path]:
    """Yield the source files of the standard library, tests and what people have installed beside it excepted."""
    root = Path(sysconfig.get_path("stdlib"))
    skipped = {"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__", "pydoc_data"}
    for folder, inner, files in os.walk(root):
        inner[:] = set(inner) - skipped
        if Path(folder) == root:
            inner[:] = set(inner) & sys.stdlib_module_names
            files = [f for f in files if f.removesuffix(".py") in sys.stdlib_module_names]
        yield from (Path(folder, f) for f in files if f.endswith(".py"))


def hub_name(source: str) -> str:
    """Return the name of a source for the `datasets` library; raises `DataError` for a folder that it would misread."""
    name = source.removeprefix(HUB)
    if Path(name).is_dir() and glob.has_magic(str(Path(name).resolve())):
        raise DataError(
            f"{source}: a folder whose path has one of * ? [ would be read as a pattern, and other folders with it, "
            "by the datasets library; rename it, or give its files themselves, as FOLDER/*.parquet say"
        )
    return name


def _hub_rows(config: DataConfig, split: str) -> Iterator[str]:
    import datasets

    name, column = hub_name(config.source), config.column
    try:
        with _without_retry_notes():
            table = datasets.load_dataset(name, split=split)
    except Exception as error:  # the library's errors have no common base; all of them end the preparation
        raise DataError(f"{config.source}, split {split!r}: can't be loaded: {short(error)}") from None
    check_column("column", column, table.column_names, config.source)
    batches = table.select_columns([column]).with_format("arrow").iter(batch_size=ROWS_AT_ONCE)
    yield from values(batches, f"{config.source}, split {split!r}", column)


@contextlib.contextmanager
def _without_retry_notes() -> Iterator[None]:
    """Silence the log of the block's attempts to reach the hub; the error has all that matters."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
