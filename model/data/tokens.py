"""Tokenized documents, back to back, with their numbers of bytes."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tokens:
    """Documents back to back, each followed by the separator."""

    ids: np.ndarray
    """uint16 (tokens): all documents' tokens."""
    starts: np.ndarray
    """int64 (documents + 1): document i is ids[starts[i]:starts[i + 1]], its separator included."""
    text_bytes: np.ndarray
    """int64 (documents): raw UTF-8 bytes of each document, the separator not counted."""

    @property
    def bytes_per_token(self) -> float:
        """Raw UTF-8 bytes of these documents for each of their tokens, separators counted as tokens."""
        return int(self.text_bytes.sum()) / len(self.ids)

    def bpb(self, nats_per_token: float) -> float:
        """Return the bits per byte of these documents at this mean loss per token, separators included."""
        return len(self.ids) * nats_per_token / (math.log(2) * int(self.text_bytes.sum()))

    def uniform_bpb(self, vocab_size: int) -> float:
        """Return the BPB of these documents if every token of the vocabulary has equal probability."""
        return self.bpb(math.log(vocab_size))

    def subset(self, least_bytes: int) -> "Tokens":
        """Return whole documents, evenly spread, of at least this many bytes; all if they have fewer."""
        chosen = evenly(self.text_bytes, least_bytes)
        if len(chosen) == len(self.text_bytes):
            return self
        return self.documents(chosen)

    def documents(self, chosen: np.ndarray) -> "Tokens":
        """Return the documents of these indices, at least one."""
        parts = [self.ids[self.starts[i] : self.starts[i + 1]] for i in chosen]
        starts = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        return Tokens(np.concatenate(parts), starts, self.text_bytes[chosen])


def evenly(sizes: np.ndarray, least: int) -> np.ndarray:
    """Return the indices of items, evenly spread, whose sizes sum to at least `least`; all if they don't.

    Losses at report points are measured on such documents: another rule would change all losses of a running study.
    """
    n, total = len(sizes), int(sizes.sum())
    if total <= least:
        return np.arange(n)
    for count in sorted({min(n, math.ceil(n * least / total * f)) for f in (1, 1.25, 1.6, 2, 4, 1e9)}):
        chosen = np.unique(np.linspace(0, n - 1, count).round().astype(np.int64))
        if int(sizes[chosen].sum()) >= least:
            break
    return chosen
