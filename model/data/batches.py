"""Training batches: an endless stream of whole documents in shuffled order, packed without padding."""

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from model.data.tokens import Tokens


class Batches:
    """An endless stream of tokens, cut into sequences; the same for every batch size, a function of the seed.

    Args:
        tokens: documents, each with its separator at the end.
        separator: the token before the first document.
        context: tokens per sequence.
        seed: seed of the order, which is drawn anew for every pass over the documents.

    """

    def __init__(self, tokens: Tokens, separator: int, context: int, seed: int) -> None:
        self._ids = np.asarray(tokens.ids)  # slicing a memory map takes microseconds each time
        self._starts = np.asarray(tokens.starts)
        self._context = context
        self._random = np.random.default_rng(seed)
        self._last = separator
        self._shuffle()

    def next(self, batch_size: int) -> Tensor:
        """Return int64 (batch_size, context + 1): inputs are rows[:, :-1], targets rows[:, 1:].

        A row's last token is the next row's first, so that each token of the stream is a target exactly once.
        """
        stream = np.empty(batch_size * self._context + 1, dtype=np.int64)
        stream[0] = self._last
        filled = 1
        while filled < len(stream):
            if self._done == self._ends[-1]:
                self._shuffle()
            filled += self._fill(stream[filled:])
        self._last = int(stream[-1])
        return torch.from_numpy(sliding_window_view(stream, self._context + 1)[:: self._context].copy())

    def skip(self, tokens: int) -> None:
        """Advance a fresh stream as if it had returned this many tokens."""
        if tokens:
            passes, self._done = divmod(tokens - 1, int(self._ends[-1]))
            for _ in range(passes):
                done = self._done
                self._shuffle()
                self._done = done
            last = np.empty(1, dtype=np.int64)
            self._fill(last)
            self._last = int(last[0])

    def _shuffle(self) -> None:
        """Begin a pass: its k-th document ends at position ends[k] of the pass's tokens."""
        self._order = self._random.permutation(len(self._starts) - 1)
        self._ends = np.cumsum(np.diff(self._starts)[self._order])
        self._done = 0

    def _fill(self, out: np.ndarray) -> int:
        """Write the next tokens of the pass, as many as fit, and return their number.

        All at once rather than document by document: a batch may hold a thousand short ones or a part of a long one.
        """
        done, stop = self._done, min(self._done + len(out), int(self._ends[-1]))
        first = np.searchsorted(self._ends, done, side="right")
        last = np.searchsorted(self._ends, stop, side="left")
        ends = self._ends[first : last + 1]
        counts = np.diff(np.minimum(ends, stop), prepend=done)
        shifts = self._starts[self._order[first : last + 1] + 1] - ends  # from places in the pass to places in ids
        out[: stop - done] = self._ids[np.arange(done, stop) + np.repeat(shifts, counts)]
        self._done = stop
        return stop - done
