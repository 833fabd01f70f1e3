"""Text made ready for training, once: read, split, tokenized, measured, and kept on disk by content.

Everything is built in a folder beside and moved into place under a lock, so that many workers share one
preparation and one that was cut off leaves nothing that another would use.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model import text
from model.config import DataConfig, TokenizerConfig
from model.errors import DataError
from model.tokenizer import Tokenizer, train_tokenizer

FORMAT = 1
CHUNK_BYTES = 4_000_000
PARTS: tuple[text.Part, ...] = ("train", "validation")

OnProgress = Callable[[str, int, int | None], None]
"""Called with a stage, the bytes done, and the bytes there are (None: not known)."""


@dataclass(frozen=True)
class Tokens:
    """Documents back to back, each followed by the separator."""

    ids: np.ndarray
    """uint16, all tokens."""
    starts: np.ndarray
    """int64 (documents + 1): document i is ids[starts[i]:starts[i + 1]], its separator included."""
    text_bytes: np.ndarray
    """int64 (documents): raw UTF-8 bytes of each, the separator not counted."""

    def subset(self, least_bytes: int) -> "Tokens":
        """Return whole documents, evenly spread, of at least so many bytes; everything when there are fewer."""
        total = int(self.text_bytes.sum())
        if total <= least_bytes:
            return self
        n = len(self.text_bytes)
        for count in sorted({min(n, math.ceil(n * least_bytes / total * f)) for f in (1, 1.25, 1.6, 2, 4, 1e9)}):
            chosen = np.unique(np.linspace(0, n - 1, count).round().astype(np.int64))
            if int(self.text_bytes[chosen].sum()) >= least_bytes:
                break
        parts = [self.ids[self.starts[i] : self.starts[i + 1]] for i in chosen]
        starts = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        return Tokens(np.concatenate(parts), starts, self.text_bytes[chosen])


@dataclass(frozen=True)
class Corpus:
    """A prepared text with its tokenizer, and what counting alone says of its bits per byte."""

    train: Tokens
    validation: Tokens
    tokenizer: Tokenizer
    text_sha256: str
    """Of all documents of both parts, in order."""
    uniform_bpb: float
    """BPB on the validation text, separators included, of giving every token equal probability."""
    unigram_bpb: float
    """The same of giving each token its add-one frequency in the training text."""


def prepare(
    data: DataConfig,
    tokenizer: TokenizerConfig,
    cache: Path,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Corpus:
    """Return the corpus, from the cache where it is there already.

    Raises `DataError` for text that can't be read, is empty, or doesn't come back the same from the tokenizer.
    """
    source = text.fingerprint(data)
    index = cache / "sources" / source
    if not index.exists() or not _whole(cache / "text" / index.read_text()):
        with _locked(cache, f"source-{source}"):
            if not index.exists() or not _whole(cache / "text" / index.read_text()):
                sha = _read_text(data, cache, on_progress)
                index.parent.mkdir(parents=True, exist_ok=True)
                scratch = index.with_name(f"{source}.{os.getpid()}")
                scratch.write_text(sha)
                scratch.replace(index)
    sha = index.read_text()
    folder = cache / "tokens" / _key(sha, tokenizer)
    if not _whole(folder):
        with _locked(cache, folder.name):
            if not _whole(folder):
                _tokenize(cache / "text" / sha, folder, tokenizer, on_progress)
    return _open(folder, sha)


def _key(sha: str, tokenizer: TokenizerConfig) -> str:
    return hashlib.sha256(json.dumps([FORMAT, sha, tokenizer.table()]).encode()).hexdigest()[:32]


def _locked(cache: Path, name: str) -> Any:
    from filelock import FileLock

    folder = cache / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}.lock")


def _scratch(folder: Path) -> Path:
    scratch = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    return scratch


def _finish(scratch: Path, folder: Path, facts: dict[str, Any]) -> None:
    """Write what the folder must hold, and move it into place."""
    sizes = {f.name: f.stat().st_size for f in scratch.iterdir()}
    (scratch / "meta.json").write_text(json.dumps({"sizes": sizes, **facts}))
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)


def _whole(folder: Path) -> bool:
    """Return whether the folder is there with every file at its full size."""
    try:
        sizes = json.loads((folder / "meta.json").read_text())["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError):
        return False


def _read_text(data: DataConfig, cache: Path, on_progress: OnProgress) -> str:
    """Write the documents of both parts as they come; returns the sha-256 of all of them."""
    scratch = _scratch(cache / "text" / f"reading-{text.fingerprint(data)[:16]}")
    digest, done = hashlib.sha256(), 0
    lengths: dict[str, list[int]] = {part: [] for part in PARTS}
    files = {part: (scratch / f"{part}.utf8").open("wb") for part in PARTS}
    try:
        for part, document in text.documents(data):
            raw = document.encode("utf-8")
            digest.update(f"{part} {len(raw)}\n".encode() + raw)
            files[part].write(raw)
            lengths[part].append(len(raw))
            done += len(raw)
            if len(lengths[part]) % 1000 == 0:
                on_progress("reading text", done, None)
    except UnicodeEncodeError as error:
        raise DataError(f"{data.source}: holds a lone surrogate, which no UTF-8 text has: {error.reason}") from None
    finally:
        for file in files.values():
            file.close()
    for part in PARTS:
        np.save(scratch / f"{part}.lengths.npy", np.asarray(lengths[part], dtype=np.int64))
    on_progress("reading text", done, done)
    sha = digest.hexdigest()
    if _whole(cache / "text" / sha):
        shutil.rmtree(scratch)
    else:
        _finish(scratch, cache / "text" / sha, {"bytes": done})
    return sha


def _chunks(folder: Path, part: str, chosen: np.ndarray | None = None) -> Iterator[list[str]]:
    """Yield the part's documents, or the chosen ones, a few megabytes at a time."""
    lengths = np.load(folder / f"{part}.lengths.npy")
    ends = np.cumsum(lengths)
    with (folder / f"{part}.utf8").open("rb") as file:
        chunk, size = [], 0
        for i in range(len(lengths)) if chosen is None else chosen:
            file.seek(int(ends[i] - lengths[i]))
            chunk.append(file.read(int(lengths[i])).decode("utf-8"))
            size += int(lengths[i])
            if size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk


def _sample(folder: Path, sample_bytes: int) -> Iterator[str]:
    """Yield training documents at an even stride, of about so many bytes, line by line.

    Lines keep their newline, so that newline pieces are learned.
    """
    lengths = np.load(folder / "train.lengths.npy")
    stride = max(1, round(int(lengths.sum()) / sample_bytes))
    for chunk in _chunks(folder, "train", np.arange(0, len(lengths), stride)):
        for document in chunk:
            yield from document.splitlines(keepends=True)


def _tokenize(source: Path, folder: Path, config: TokenizerConfig, on_progress: OnProgress) -> None:
    scratch = _scratch(folder)
    on_progress(f"training {config.kind} tokenizer, {config.vocab_size} tokens", 0, None)
    tokenizer = Tokenizer(train_tokenizer(_sample(source, config.sample_bytes), config))
    (scratch / "tokenizer.model").write_bytes(tokenizer.proto)
    for part in PARTS:
        _encode(source, scratch, part, tokenizer, on_progress)
    counts = np.bincount(np.memmap(scratch / "train.u16", np.uint16, "r"), minlength=tokenizer.vocab_size)
    uniform, unigram = bounds(counts, _tokens(scratch, "validation"))
    _finish(scratch, folder, {"uniform_bpb": uniform, "unigram_bpb": unigram, "settings": config.table()})


def _encode(source: Path, scratch: Path, part: text.Part, tokenizer: Tokenizer, on_progress: OnProgress) -> None:
    lengths = np.load(source / f"{part}.lengths.npy")
    stage, total, done = f"encoding {part}, {tokenizer.vocab_size} tokens", int(lengths.sum()), 0
    starts = [0]
    with (scratch / f"{part}.u16").open("wb") as file:
        for chunk in _chunks(source, part):
            for document, ids in zip(chunk, tokenizer.encode(chunk), strict=True):
                if part == "validation" and tokenizer.decode(ids) != document:
                    raise DataError(f"the tokenizer loses text; the first document it changes begins {document[:40]!r}")
                file.write(np.append(ids, np.uint16(tokenizer.separator)).astype(np.uint16).tobytes())
                starts.append(starts[-1] + len(ids) + 1)
            done += sum(len(d.encode()) for d in chunk)
            on_progress(stage, done, total)
    np.save(scratch / f"{part}.starts.npy", np.asarray(starts, dtype=np.int64))
    shutil.copyfile(source / f"{part}.lengths.npy", scratch / f"{part}.lengths.npy")


def bounds(train_counts: np.ndarray, validation: Tokens) -> tuple[float, float]:
    """Return the BPB of a uniform guess, and of add-one unigram frequencies, on the validation tokens."""
    bits = math.log(2) * int(validation.text_bytes.sum())
    probabilities = (train_counts + 1) / (train_counts.sum() + len(train_counts))
    seen = np.bincount(validation.ids, minlength=len(train_counts))
    unigram = -float((seen * np.log(probabilities)).sum()) / bits
    return len(validation.ids) * math.log(len(train_counts)) / bits, unigram


def _tokens(folder: Path, part: text.Part) -> Tokens:
    ids = np.memmap(folder / f"{part}.u16", np.uint16, "r")
    return Tokens(ids, np.load(folder / f"{part}.starts.npy"), np.load(folder / f"{part}.lengths.npy"))


def _open(folder: Path, sha: str) -> Corpus:
    facts = json.loads((folder / "meta.json").read_text())
    return Corpus(
        train=_tokens(folder, "train"),
        validation=_tokens(folder, "validation"),
        tokenizer=Tokenizer((folder / "tokenizer.model").read_bytes()),
        text_sha256=sha,
        uniform_bpb=facts["uniform_bpb"],
        unigram_bpb=facts["unigram_bpb"],
    )
