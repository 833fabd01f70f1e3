"""A SentencePiece tokenizer that loses nothing: decode(encode(x)) == x for every text."""

import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import sentencepiece

from model.config import TokenizerConfig
from model.errors import DataError, VocabularyError

SPACE = "\u2581"  # what SentencePiece writes for a space; in a text it would come back as one
ESCAPE = "\ue000"  # private use: ours to mean what we like

SENTENCE_CHARS = 1 << 16  # longer texts are cut: the trainer silently skips what is longer than its limit
SENTENCE_BYTES = 1 << 20  # that limit (by default 4192), well above 4 bytes for each of these characters

WHERE = "`vocab_size` of [space], [tokenizer] and every baseline"

TRAINING_THREADS = 8  # fixed: the bytes of the model depend on it, and must not on the machine's cores


def cpu_count() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def escape(text: str) -> str:
    """Return the text without a literal U+2581."""
    if SPACE in text or ESCAPE in text:
        return text.replace(ESCAPE, ESCAPE + "0").replace(SPACE, ESCAPE + "1")
    return text


def unescape(text: str) -> str:
    """Undo `escape`."""
    return text.replace(ESCAPE + "1", SPACE).replace(ESCAPE + "0", ESCAPE) if ESCAPE in text else text


def train_tokenizer(sample: Iterable[str], config: TokenizerConfig) -> bytes:
    """Return a serialized model trained on these texts, the same bytes for the same texts on every machine.

    A newline is learned only inside a text, not at its end. Raises `VocabularyError` where the texts don't
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
            # Rare characters are spelt in bytes: a small vocabulary has better uses for its places. On the
            # built-in text this gave 2.3% more bytes per token than 1.0 at 512 tokens, 0.3% at 1024.
            character_coverage=0.9995,
            max_sentence_length=SENTENCE_BYTES,
            num_threads=TRAINING_THREADS,
            minloglevel=3,  # what goes wrong is raised, and told once
        )
    except RuntimeError as error:
        raise _refusal(config, str(error)) from None
    return out.getvalue()


def _sentences(sample: Iterable[str]) -> Iterator[str]:
    for text in sample:
        for first in range(0, len(text), SENTENCE_CHARS):
            yield escape(text[first : first + SENTENCE_CHARS])


def _refusal(config: TokenizerConfig, message: str) -> VocabularyError:
    """Return SentencePiece's reason in our words, where it is one of those that users meet."""
    most = re.search(r"Please set it to a value <= (\d+)", message)
    least = re.search(r"required_chars\D+\d+ vs (\d+)", message)
    if most:
        reason = f"there is too little of it; set {WHERE} to at most {most[1]}, or give more text"
    elif least:
        reason = f"its characters alone need at least {least[1]}; set {WHERE} to that or more"
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
    """A trained tokenizer; raises `DataError` for bytes that are none."""

    proto: bytes
    """The serialized SentencePiece model."""
    sha256: str
    """Of `proto`."""
    vocab_size: int
    separator: int
    """The token that ends every document; no text encodes to it."""

    def __init__(self, proto: bytes) -> None:
        if not proto:  # SentencePiece takes it for "load later"
            raise DataError("not a SentencePiece model: it is empty")
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_proto=proto)
        except RuntimeError as error:
            raise DataError(f"not a SentencePiece model: {error}") from None
        self.proto = proto
        self.sha256 = hashlib.sha256(proto).hexdigest()
        self.vocab_size = self._pieces.get_piece_size()
        self.separator = self._pieces.eos_id()

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the tokens of each text, uint16 (tokens,), without a separator; uses every core."""
        rows = self._pieces.encode([escape(t) for t in texts], out_type="numpy", num_threads=cpu_count())
        return [row.astype(np.uint16) for row in rows]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Return the text of these tokens; separators have none."""
        return unescape(self._pieces.decode(np.asarray(ids, dtype=np.int64).tolist()))
