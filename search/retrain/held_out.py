"""Validation text in two parts: one that merges are chosen on, and one that no choice sees, for the figure at the end.

Also the difference of two models on the same documents, with its interval.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from model.data.tokenizer import Tokenizer
from model.data.tokens import Tokens
from search.common.errors import SearchError
from search.common.student import student_quantile

SPLIT = "by the SHA-256 of each document's text: first byte below 128 to choose on, the others untouched"
"""Rule of the division, which every merge's file states."""


def divide(tokens: Tokens, tokenizer: Tokenizer) -> tuple[Tokens, Tokens]:
    """Return the documents to choose on and the untouched ones, in their order, about half of them each.

    The division depends on texts alone: it is the same for every tokenizer, and documents that are alike lie in one
    part. Raises `SearchError` if a part is empty.
    """
    to_choose_on = np.array([_to_choose_on(text) for text in _texts(tokens, tokenizer)])
    parts = [np.flatnonzero(mask) for mask in (to_choose_on, ~to_choose_on)]
    if not all(len(part) for part in parts):
        raise SearchError(
            f"the validation text has {len(tokens.text_bytes)} documents, which can't be divided into a part to choose "
            "on and one for the figure; hold out more of them (`holdout_period`, `holdout_rows` in [data])"
        )
    return tokens.documents(parts[0]), tokens.documents(parts[1])


def _to_choose_on(text: str) -> bool:
    return hashlib.sha256(text.encode("utf-8")).digest()[0] < 128


def _texts(tokens: Tokens, tokenizer: Tokenizer) -> list[str]:
    """Return the documents as text, without the separators that end them."""
    bounds = zip(tokens.starts[:-1], tokens.starts[1:], strict=True)
    return [tokenizer.decode(np.asarray(tokens.ids[first : last - 1])) for first, last in bounds]


@dataclass(frozen=True)
class Difference:
    """The difference of two models' BPB on the same documents; negative where the second is better."""

    bpb: float
    half_width: float | None
    """Half of its 95% interval over documents of this kind; None for a single document."""

    @property
    def text(self) -> str:
        """The difference with its interval, as text."""
        return f"{self.bpb:+.4f}" + (f" ± {self.half_width:.4f}" if self.half_width is not None else "")

    @property
    def sign(self) -> int:
        """-1 where the second is better by more than chance, 1 where it is worse by more; 0: can't be told."""
        if self.half_width is None or abs(self.bpb) <= self.half_width:
            return 0
        return 1 if self.bpb > 0 else -1


def difference(first: Float[ndarray, " n"], second: Float[ndarray, " n"], text_bytes: Int[ndarray, " n"]) -> Difference:
    """Return the difference of two BPB of the same n documents, of each one's nats and bytes, and its interval.

    D = Σ d / Σ b, d being a document's difference in bits and b its bytes: a ratio of sums, in which long documents
    count for more. Its variance is n / (n - 1) · Σ (d - D b)² / (Σ b)² (Cochran, Sampling Techniques, 1977, 6.4), the
    interval Student's with n - 1 degrees of freedom. It allows for other documents, not for other runs.
    """
    bits, n = (second - first) / math.log(2), len(text_bytes)
    ratio = float(bits.sum() / text_bytes.sum())
    if n < 2:
        return Difference(ratio, None)
    squares = float(((bits - ratio * text_bytes) ** 2).sum())
    error = math.sqrt(n / (n - 1) * squares) / float(text_bytes.sum())
    return Difference(ratio, student_quantile(n - 1) * error)
