"""A SentencePiece tokenizer that loses nothing: decode(encode(x)) == x for every text."""

import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import sentencepiece

from model.config import MIN_VOCAB, TokenizerConfig
from model.errors import DataError, VocabularyError

SPACE = "\u2581"
"""Sign by which SentencePiece represents a space; in a text it would be decoded as one."""
RESERVED = (SPACE, "\u2585", "<unk>", "<s>", "</s>", "<0x")
"""Signs and names that SentencePiece reserves, which are replaced in all texts before it sees them.

Its trainer silently skips every line with U+2585, and silently ignores the names of its own pieces (`<0x` begins those
of the bytes). It reserves U+0000 and U+001F too, but a sign of one byte takes one token anyway.
"""
ESCAPE = "\ue000"
"""Escape sign, of Unicode's private use area: with a digit after it, it stands for one of the signs in `INSTEAD`."""
UNKNOWN = "\ufffd"
"""Text of the unknown piece, to which no text is encoded: a tokenizer that has it escapes all of `RESERVED`."""

Pairs = Sequence[tuple[str, str]]


class Piece(NamedTuple):
    """One token as SentencePiece describes it."""

    text: str
    """Its text, with `SPACE` for a space; `<0x41>` for a byte."""
    score: float
    """Log-probability, or minus the rank of the merge that makes it."""
    kind: str
    """normal, unknown, control or byte."""


INSTEAD = [chr(ord(ESCAPE) + number) for number in range(len(RESERVED) + 1)]
REPLACED: Pairs = (
    *((sign, f"{ESCAPE}{number}") for number, sign in enumerate(INSTEAD)),
    *zip(RESERVED, INSTEAD[1:], strict=True),
)
"""Replacements before encoding, in this order: each by one sign, which is learned as quickly as any other."""
REPLACED_ONCE: Pairs = ((ESCAPE, f"{ESCAPE}0"), (SPACE, f"{ESCAPE}1"))
"""The same for older tokenizers, without `UNKNOWN`, which go on as they were trained."""

SENTENCE_CHARS = 1 << 16
"""Length at which texts are cut: the trainer silently skips those longer than its limit."""
SENTENCE_BYTES = 1 << 20
"""That limit (by default 4192), well above 4 bytes for each of these characters."""

SETTINGS = "`vocab_size` of [space], [tokenizer] and every baseline"

TRAINING_THREADS = 8
"""Threads of the trainer: fixed, since the model's bytes depend on it, and must not depend on the machine."""


def cpu_count() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def escape(text: str, replaced: Pairs = REPLACED) -> str:
    """Return the text with all that SentencePiece reserves replaced."""
    if text.isascii() and "<" not in text:
        return text  # the quick way, for most texts
    for sign, instead in replaced:
        text = text.replace(sign, instead)
    return text


def unescape(text: str, replaced: Pairs = REPLACED) -> str:
    """Undo `escape`."""
    if text.isascii():
        return text
    for sign, instead in reversed(replaced):
        text = text.replace(instead, sign)
    return text


def train_tokenizer(sample: Iterable[str], config: TokenizerConfig) -> bytes:
    """Return a serialized model trained on these texts, the same bytes for the same texts on every machine.

    A newline is learned only inside a text, not at its end. Raises `VocabularyError` if the texts don't
    allow the vocabulary.
    """
    out = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_sentences(sample),
            model_writer=out,
            model_type=config.kind,
            vocab_size=config.vocab_size,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            byte_fallback=True,
            # Rare characters are spelt in bytes, since a small vocabulary has better uses for its tokens. On the
            # built-in text this gave 2.3% more bytes per token than 1.0 at 512 tokens, 0.3% at 1024.
            character_coverage=0.9995,
            # But never the space, however rare: every text is given one at its beginning, removed only as a piece.
            required_chars=SPACE,
            unk_surface=UNKNOWN,
            max_sentence_length=SENTENCE_BYTES,
            num_threads=TRAINING_THREADS,
            minloglevel=3,  # errors are raised, and need not be logged too
        )
    except RuntimeError as error:
        raise _refusal(config, str(error)) from None
    return out.getvalue()


def _sentences(sample: Iterable[str]) -> Iterator[str]:
    for text in sample:
        for first in range(0, len(text), SENTENCE_CHARS):
            yield escape(text[first : first + SENTENCE_CHARS])


def _refusal(config: TokenizerConfig, message: str) -> VocabularyError:
    """Return an error for SentencePiece's message, with a reason and a remedy for those that users meet."""
    most = re.search(r"Please set it to a value <= (\d+)", message)
    least = re.search(r"required_chars\D+\d+ vs (\d+)", message)
    if most and int(most[1]) < MIN_VOCAB:
        reason = f"it is enough for {most[1]}, fewer than any vocabulary has; give more text, or more varied"
    elif most:
        reason = f"there is too little of it; set {SETTINGS} to at most {most[1]}, or give more text"
    elif least:
        reason = f"its characters alone need at least {least[1]}; set {SETTINGS} to that or more"
    elif "sentences_.empty()" in message:
        reason = "there is none"
    else:
        reason = message.strip().splitlines()[-1] if message.strip() else "SentencePiece gave no reason"
    error = VocabularyError(
        f"no {config.kind} tokenizer with `vocab_size` {config.vocab_size} can be trained on this text: {reason}"
    )
    error.least, error.most = int(least[1]) if least else None, int(most[1]) if most else None
    return error


class Tokenizer:
    """A trained tokenizer; raises `DataError` if the bytes aren't a SentencePiece model."""

    proto: bytes
    """The serialized SentencePiece model."""
    sha256: str
    """SHA-256 of `proto`."""
    vocab_size: int
    separator: int
    """The token that ends every document; no text encodes to it."""
    replaced: Pairs
    """Replacements before encoding, in this order; undone after decoding."""

    def __init__(self, proto: bytes) -> None:
        if not proto:  # SentencePiece would wait for a model
            raise DataError("not a SentencePiece model: it is empty")
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_proto=proto)
        except RuntimeError as error:
            raise DataError(f"not a SentencePiece model: {error}") from None
        self.proto = proto
        self.sha256 = hashlib.sha256(proto).hexdigest()
        self.vocab_size = self._pieces.get_piece_size()
        self.separator = self._pieces.eos_id()
        everything = self._pieces.decode([self._pieces.unk_id()]) == UNKNOWN
        self.replaced = REPLACED if everything else REPLACED_ONCE

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the tokens of each text, uint16 (tokens,), without a separator; uses every core."""
        rows = self._pieces.encode([escape(t, self.replaced) for t in texts], out_type="numpy", num_threads=cpu_count())
        return [row.astype(np.uint16) for row in rows]

    def pieces(self) -> list[Piece]:
        """Return every token in the order of ids."""
        model = self._pieces
        kinds = {"unknown": model.is_unknown, "control": model.is_control, "byte": model.is_byte}
        return [
            Piece(
                model.id_to_piece(i),
                model.get_score(i),
                next((kind for kind, is_it in kinds.items() if is_it(i)), "normal"),
            )
            for i in range(self.vocab_size)
        ]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Return the text of these tokens; separators have none."""
        return unescape(self._pieces.decode(np.asarray(ids, dtype=np.int64).tolist()), self.replaced)
