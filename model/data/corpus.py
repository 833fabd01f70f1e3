"""A corpus: text read, split, tokenized and measured once, and cached on disk by its content.

Everything is built under another name and renamed under a lock, so that many workers share one preparation, and one
that is killed leaves nothing that another would use.
"""

import contextlib
import hashlib
import json
import math
import shutil
import tempfile
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np

from model.config import DataConfig, TokenizerConfig
from model.data import sources as text
from model.data import tokenizer_cache
from model.data.cache import finish, is_complete, locked, scratch
from model.data.tokenizer import Tokenizer, train_tokenizer
from model.data.tokens import Tokens, evenly
from model.errors import DataError

FORMAT = 3
"""Version of the cached tokens; raise it when the same text gives other tokens."""
CHUNK_BYTES = 4_000_000
"""Bytes of text that are tokenized at a time."""

OnProgress = Callable[[str, int, int | None], None]
"""Called with a stage, the bytes done, and all bytes (None: not known)."""


@dataclass(frozen=True)
class Corpus:
    """A prepared text with its tokenizer, and the bits per byte of two models that only count."""

    train: Tokens
    validation: Tokens
    tokenizer: Tokenizer
    text_sha256: str
    """SHA-256 of all documents of both parts, in order."""
    uniform_bpb: float
    """BPB on the validation text, separators included, if every token has equal probability."""
    unigram_bpb: float
    """The same if each token's probability is its add-one frequency in the training text."""


def prepare(
    data: DataConfig,
    tokenizer: TokenizerConfig,
    cache: Path,
    on_progress: OnProgress = lambda stage, done, total: None,
    proto: bytes | None = None,
) -> Corpus:
    """Return the corpus, from the cache if it is there.

    `proto` is the tokenizer to use, as bytes; None: one trained with these settings. Raises `DataError` for text
    that can't be read, is empty, or isn't the same after encoding and decoding.
    """
    sha = text_sha256(data, cache, on_progress)
    proto = proto or tokenizer_bytes(sha, tokenizer, cache, on_progress)
    folder = tokens_folder(cache, sha, hashlib.sha256(proto).hexdigest())
    if not is_complete(folder):
        with locked(cache, folder.name):
            if not is_complete(folder):
                _tokenize(cache / "text" / sha, folder, Tokenizer(proto), on_progress)
    return _open(folder, sha)


def validation(
    data: DataConfig, tokenizer: Tokenizer, cache: Path, on_progress: OnProgress = lambda stage, done, total: None
) -> tuple[Tokens, str]:
    """Return only the validation part, in this tokenizer's tokens, and the SHA-256 of the whole text."""
    sha = text_sha256(data, cache, on_progress)
    folder = tokens_folder(cache, sha, tokenizer.sha256)
    if is_complete(folder):
        return _tokens(folder, "validation"), sha
    with tempfile.TemporaryDirectory() as temporary:
        _encode(cache / "text" / sha, Path(temporary), "validation", tokenizer, on_progress)
        tokens = _tokens(Path(temporary), "validation")
        return replace(tokens, ids=np.array(tokens.ids)), sha


def tokenizer_bytes(
    text_sha256: str,
    config: TokenizerConfig,
    cache: Path,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> bytes:
    """Return the tokenizer of a text that is in the cache; train it unless it is there too."""

    def train() -> bytes:
        on_progress(f"training {config.kind} tokenizer, {config.vocab_size} tokens", 0, None)
        return train_tokenizer(_sample(cache / "text" / text_sha256, config.sample_bytes), config)

    return tokenizer_cache.get_or_train(cache, text_sha256, config, train)


def tokens_folder(cache: Path, text_sha256: str, tokenizer_sha256: str) -> Path:
    """Return the folder of a text's tokens and their tokenizer in the cache."""
    key = hashlib.sha256(json.dumps([FORMAT, text_sha256, tokenizer_sha256]).encode()).hexdigest()
    return cache / "tokens" / key[:32]


def text_sha256(data: DataConfig, cache: Path, on_progress: OnProgress = lambda stage, done, total: None) -> str:
    """Return the SHA-256 of the source's text, after reading it into the cache unless it is there."""
    source = text.fingerprint(data)
    index = cache / "sources" / source
    if sha := _cached_sha(index):
        return sha
    with locked(cache, f"source-{source}"):
        if sha := _cached_sha(index):
            return sha
        sha = _read_text(data, cache, source, on_progress)
        index.parent.mkdir(parents=True, exist_ok=True)
        unfinished = index.with_name(f"{source}.unfinished")
        unfinished.write_text(sha)
        unfinished.replace(index)
    return sha


def _cached_sha(index: Path) -> str | None:
    sha = index.read_text() if index.exists() else ""
    return sha if sha and is_complete(index.parent.parent / "text" / sha) else None


def _read_text(data: DataConfig, cache: Path, source: str, on_progress: OnProgress) -> str:
    """Write the documents of both parts into the cache; return the SHA-256 of all of them."""
    unfinished = scratch(cache / "text" / f"reading-{source[:16]}")
    with contextlib.ExitStack() as stack:
        files = {part: stack.enter_context((unfinished / f"{part}.utf8").open("wb")) for part in text.PARTS}
        sha, lengths = _write_documents(text.documents(data), files, on_progress)
    for part in text.PARTS:
        np.save(unfinished / f"{part}.lengths.npy", lengths[part])
    folder = cache / "text" / sha
    with locked(cache, f"text-{sha}"):  # other sources may hold the same text
        if is_complete(folder):
            shutil.rmtree(unfinished)
        else:
            finish(unfinished, folder, {})
    return sha


def _write_documents(
    documents: Iterator[tuple[text.Part, str]], files: Mapping[text.Part, IO[bytes]], on_progress: OnProgress
) -> tuple[str, dict[text.Part, np.ndarray]]:
    digest, done, reported = hashlib.sha256(), 0, 0
    lengths = {part: array("q") for part in text.PARTS}  # not a list: there may be ten million
    for part, document in documents:
        raw = document.encode("utf-8")
        digest.update(f"{part} {len(raw)}\n".encode() + raw)
        files[part].write(raw)
        lengths[part].append(len(raw))
        done += len(raw)
        if done - reported >= CHUNK_BYTES:
            on_progress("reading text", done, None)
            reported = done
    on_progress("reading text", done, done)
    return digest.hexdigest(), {part: np.array(lengths[part]) for part in text.PARTS}


def training_documents(text_sha256: str, cache: Path) -> Iterator[str]:
    """Yield the training documents of a text that is in the cache."""
    for chunk in _chunks(cache / "text" / text_sha256, "train"):
        yield from chunk


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
    """Yield lines of training documents, evenly spread, of about this many bytes in all.

    Whole documents would teach newline pieces: 3 to 9% more bytes per token, yet 0.04 to 0.12 BPB worse after 1000
    to 1500 steps of a small network (unigram, 2048 and 6144 tokens; built-in text and BabyLM; 2 or 3 seeds).
    """
    chosen = evenly(np.load(folder / "train.lengths.npy"), sample_bytes)
    left = sample_bytes
    for chunk in _chunks(folder, "train", chosen):
        for document in chunk:
            yield from document[:left].splitlines(keepends=True)
            left -= len(document.encode("utf-8"))
            if left <= 0:
                return


def _tokenize(source: Path, folder: Path, tokenizer: Tokenizer, on_progress: OnProgress) -> None:
    unfinished = scratch(folder)
    (unfinished / tokenizer_cache.FILE).write_bytes(tokenizer.proto)
    train_counts = _encode(source, unfinished, "train", tokenizer, on_progress)
    _encode(source, unfinished, "validation", tokenizer, on_progress)
    uniform, unigram = bounds(train_counts, _tokens(unfinished, "validation"))
    finish(unfinished, folder, {"uniform_bpb": uniform, "unigram_bpb": unigram})


def _encode(
    source: Path, unfinished: Path, part: text.Part, tokenizer: Tokenizer, on_progress: OnProgress
) -> np.ndarray:
    """Write the part's tokens and its documents' starts; return int64 (vocabulary,): how often each token occurs."""
    text_bytes = np.load(source / f"{part}.lengths.npy")
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    starts = np.zeros(len(text_bytes) + 1, dtype=np.int64)
    separator = np.array([tokenizer.separator], dtype=np.uint16)
    done, done_bytes, total_bytes = 0, 0, int(text_bytes.sum())
    with (unfinished / f"{part}.u16").open("wb") as file:
        for chunk in _chunks(source, part):
            encoded = tokenizer.encode(chunk)
            if part == "validation":
                _check_lossless(tokenizer, chunk, encoded)
            ids = np.concatenate([piece for row in encoded for piece in (row, separator)])
            file.write(ids.tobytes())
            counts += np.bincount(ids, minlength=len(counts))
            ends = starts[done] + np.cumsum([len(row) + 1 for row in encoded])
            starts[done + 1 : done + 1 + len(chunk)] = ends
            done_bytes += int(text_bytes[done : done + len(chunk)].sum())
            done += len(chunk)
            on_progress(f"encoding {part}, {tokenizer.vocab_size} tokens", done_bytes, total_bytes)
    np.save(unfinished / f"{part}.starts.npy", starts)
    shutil.copyfile(source / f"{part}.lengths.npy", unfinished / f"{part}.lengths.npy")
    return counts


def _check_lossless(tokenizer: Tokenizer, documents: list[str], encoded: list[np.ndarray]) -> None:
    for document, ids in zip(documents, encoded, strict=True):
        if tokenizer.decode(ids) != document:
            raise DataError(f"the tokenizer loses text; the first document it changes begins {document[:40]!r}")


def bounds(train_counts: np.ndarray, validation: Tokens) -> tuple[float, float]:
    """Return the BPB of uniform probabilities, and of add-one unigram frequencies, on the validation tokens."""
    bits = math.log(2) * int(validation.text_bytes.sum())
    probabilities = (train_counts + 1) / (train_counts.sum() + len(train_counts))
    counts = np.bincount(validation.ids, minlength=len(train_counts))
    unigram = -float((counts * np.log(probabilities)).sum()) / bits
    return validation.uniform_bpb(len(train_counts)), unigram


def _tokens(folder: Path, part: text.Part) -> Tokens:
    ids = np.memmap(folder / f"{part}.u16", np.uint16, "r")
    return Tokens(ids, np.load(folder / f"{part}.starts.npy"), np.load(folder / f"{part}.lengths.npy"))


def _open(folder: Path, sha: str) -> Corpus:
    meta = json.loads((folder / "meta.json").read_text())
    return Corpus(
        train=_tokens(folder, "train"),
        validation=_tokens(folder, "validation"),
        tokenizer=Tokenizer((folder / tokenizer_cache.FILE).read_bytes()),
        text_sha256=sha,
        uniform_bpb=meta["uniform_bpb"],
        unigram_bpb=meta["unigram_bpb"],
    )
