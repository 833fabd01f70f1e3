"""Minimal pairs in BLiMP's format, and a model's choices among them (Warstadt et al. 2020, arXiv:1912.00582).

A file has a pair on each line, as a JSON object: `sentence_good`, `sentence_bad` and, optionally, `UID` (the paradigm;
by default the file's name), `linguistics_term` (the phenomenon; by default the paradigm). A model is right where it
gives the good sentence, as a whole, the higher probability. A tie is not right: it prefers neither.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model.data.text_files import expanded, json_object, lines, local_files, text_at
from model.data.tokenizer import Tokenizer
from model.errors import DataError
from model.likelihood import log_likelihoods
from model.network.transformer import Transformer

GOOD, BAD = "sentence_good", "sentence_bad"


@dataclass(frozen=True)
class Pair:
    """Two sentences that differ in little, of which one is acceptable."""

    good: str
    bad: str
    phenomenon: str
    paradigm: str
    """Kind of pairs within the phenomenon."""


def read_pairs(sources: Iterable[str]) -> list[Pair]:
    """Return the pairs of these files, globs, or folders of .jsonl files; raises `DataError` for any other content."""
    files = list(dict.fromkeys(file for source in sources for file in _files(source)))
    return [pair for file in files for pair in _pairs(file)]


def _files(source: str) -> list[Path]:
    folder = expanded(source)
    if folder.is_dir():
        files = sorted(folder.rglob("*.jsonl"))
        if not files:
            raise DataError(f"{source}: there is no .jsonl file in this folder; a task has a minimal pair on each line")
        return files
    files = local_files(source)
    for file in files:
        if file.suffix != ".jsonl":
            raise DataError(f"{file}: not a .jsonl file, but a task has a minimal pair on each line, as a JSON object")
    return files


def _pairs(file: Path) -> list[Pair]:
    try:
        pairs = [_pair(json_object(line, place), place, file.stem) for place, line in lines(file) if line.strip()]
    except OSError as error:
        raise DataError(f"{file}: can't be read: {error.strerror or error}") from None
    if not pairs:
        raise DataError(f"{file}: has no pair in it; each line is an object with `{GOOD}` and `{BAD}`")
    return pairs


def _pair(row: Mapping[str, Any], place: str, file: str) -> Pair:
    for key in (GOOD, BAD):
        if not text_at(row, key, place).strip():
            raise DataError(f"{place}: `{key}` is empty, but must be a sentence")
    names = {key: text_at(row, key, place) if row.get(key) else "" for key in ("UID", "linguistics_term")}
    paradigm = names["UID"] or file
    return Pair(row[GOOD], row[BAD], names["linguistics_term"] or paradigm, paradigm)


def pairs_sha256(pairs: Sequence[Pair]) -> str:
    """Return the SHA-256 of the pairs in their order, whatever their files' names and layout."""
    content = "\n".join(repr((p.good, p.bad, p.phenomenon, p.paradigm)) for p in pairs)
    return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True)
class Choices:
    """A model's choices among minimal pairs, in the pairs' order."""

    pairs: Sequence[Pair]
    good: np.ndarray
    """float64 (pairs): Σ ln p of each good sentence."""
    bad: np.ndarray
    """The same of each bad one."""
    cut: int = 0
    """Number of sentences longer than the context, which are read in several windows."""
    right: np.ndarray = field(init=False)
    """bool (pairs): whether the good sentence is the more probable."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "right", self.good > self.bad)

    @property
    def ties(self) -> int:
        """Number of pairs of which neither sentence is more probable."""
        return int((self.good == self.bad).sum())

    def counts(self, name: Callable[[Pair], str]) -> dict[str, tuple[int, int]]:
        """Return the right and all pairs of each group, by its name, in the order of first appearance."""
        totals = Counter(map(name, self.pairs))
        right = Counter(name(pair) for pair, is_right in zip(self.pairs, self.right, strict=True) if is_right)
        return {group: (right[group], total) for group, total in totals.items()}

    @property
    def paradigm_mean(self) -> float:
        """Mean accuracy over paradigms, each of equal weight: what lm-evaluation-harness states of `blimp`."""
        counts = self.counts(lambda pair: pair.paradigm).values()
        return float(np.mean([right / total for right, total in counts]))


def choose(
    network: Transformer,
    tokenizer: Tokenizer,
    pairs: Sequence[Pair],
    should_stop: Callable[[], bool] | None = None,
) -> Choices:
    """Return the model's choices; raises `StoppedError` when asked to stop."""
    texts = tokenizer.encode([sentence for pair in pairs for sentence in (pair.good, pair.bad)])
    sums = log_likelihoods(network, texts, tokenizer.separator, should_stop)
    cut = sum(len(text) > network.config.context for text in texts)
    return Choices(pairs, sums[::2], sums[1::2], cut)
