"""Training batches: whole documents in shuffled order, packed without padding, without end."""

import numpy as np
import torch
from torch import Tensor

from model.corpus import Tokens


class Batches:
    """An endless stream of tokens, cut into sequences; the same for every batch size, a function of the seed.

    Args:
        tokens: documents, each with its separator at the end.
        separator: the token before the first document.
        context: tokens per sequence.
        seed: of the order, drawn anew for every pass over the documents.

    """

    def __init__(self, tokens: Tokens, separator: int, context: int, seed: int) -> None:
        self._tokens, self._context = tokens, context
        self._random = np.random.default_rng(seed)
        self._order = np.empty(0, dtype=np.int64)
        self._next = 0
        self._left = np.array([separator], dtype=np.uint16)

    def next(self, batch_size: int) -> Tensor:
        """Return int64 (batch_size, context + 1): inputs are rows[:, :-1], targets rows[:, 1:].

        A row's last token is the next row's first, so that each token of the stream is a target exactly once.
        """
        need = batch_size * self._context + 1
        parts, have = [self._left], len(self._left)
        while have < need:
            parts.append(self._document())
            have += len(parts[-1])
        stream = np.concatenate(parts)
        self._left = stream[need - 1 :]
        starts = np.arange(batch_size)[:, None] * self._context
        return torch.from_numpy(stream[starts + np.arange(self._context + 1)].astype(np.int64))

    def _document(self) -> np.ndarray:
        if self._next == len(self._order):
            self._order = self._random.permutation(len(self._tokens.starts) - 1)
            self._next = 0
        document = self._order[self._next]
        self._next += 1
        return self._tokens.ids[self._tokens.starts[document] : self._tokens.starts[document + 1]]
