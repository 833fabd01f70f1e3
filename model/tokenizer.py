"""A SentencePiece tokenizer that loses nothing: decode(encode(x)) == x for every text."""

import hashlib
import io
import os
import re
from collections.abc import Iterable, Sequence

import numpy as np
import sentencepiece

from model.config import TokenizerConfig
from model.errors import DataError

SPACE = "\u2581"  # what SentencePiece writes for a space; in a text it would come back as one
ESCAPE = "\ue000"  # private use: ours to mean what we like

LONGEST_SENTENCE_BYTES = 1 << 20  # the default of 4192 silently skips longer ones


def escape(text: str) -> str:
    """Return the text without a literal U+2581."""
    if SPACE in text or ESCAPE in text:
        return text.replace(ESCAPE, ESCAPE + "0").replace(SPACE, ESCAPE + "1")
    return text


def unescape(text: str) -> str:
    """Undo `escape`."""
    return text.replace(ESCAPE + "1", SPACE).replace(ESCAPE + "0", ESCAPE) if ESCAPE in text else text


def train_tokenizer(sample: Iterable[str], config: TokenizerConfig) -> bytes:
    """Return a serialized model trained on these texts; raises `DataError` where they don't allow the vocabulary."""
    out = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(escape(text) for text in sample),
            model_writer=out,
            model_type=config.kind,
            vocab_size=config.vocab_size,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            byte_fallback=True,
            # Rare characters are spelt in bytes: a small vocabulary has better uses for its places.
            character_coverage=0.9995,
            max_sentence_length=LONGEST_SENTENCE_BYTES,
            num_threads=os.cpu_count() or 1,
            minloglevel=2,
        )
    except (RuntimeError, OSError, ValueError) as error:
        raise DataError(
            f"no {config.kind} tokenizer with `vocab_size` {config.vocab_size} can be trained on this text: "
            + _reason(str(error))
        ) from None
    return out.getvalue()


def _reason(message: str) -> str:
    """Return SentencePiece's reason in our words, where it is one of the two that users meet."""
    if limit := re.search(r"Please set it to a value <= (\d+)", message):
        return f"it has too little of it; at most {limit[1]} are possible"
    if limit := re.search(r"required_chars\D+\d+ vs (\d+)", message):
        return f"its characters alone need {limit[1]}"
    return message.strip().splitlines()[-1] if message.strip() else "SentencePiece gave no reason"


class Tokenizer:
    """A trained tokenizer; `separator` is the token that ends every document."""

    def __init__(self, proto: bytes) -> None:
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_proto=proto)
        except RuntimeError as error:
            raise DataError(f"not a SentencePiece model: {error}") from None
        self.proto = proto
        self.sha256 = hashlib.sha256(proto).hexdigest()
        self.vocab_size: int = self._pieces.get_piece_size()
        self.separator: int = self._pieces.eos_id()

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the tokens of each text, uint16, without a separator."""
        rows = self._pieces.encode([escape(t) for t in texts], out_type=int, num_threads=os.cpu_count() or 1)
        return [np.asarray(row, dtype=np.uint16) for row in rows]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of these tokens."""
        return unescape(self._pieces.decode([int(i) for i in ids]))
