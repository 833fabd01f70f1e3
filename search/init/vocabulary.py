"""The vocabularies that a text allows: tried on the text that `start` will train the tokenizer on, or part of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from model.config import DataConfig, TokenizerConfig
from model.data.sources import HUB, documents
from model.errors import DataError, VocabularyError
from search.init.inspect_text import Text, cut
from search.init.sizing import Size, Speed, holdout, size
from search.machine.hardware import Hardware

READ_BYTES = 64_000_000
"""Most bytes of text that are read."""
SAMPLE_BYTES = TokenizerConfig().sample_bytes
"""Bytes of it, evenly spread, that are tried: as many as a tokenizer is trained on."""
FEW = 5
"""One line in so many is tried first: if these allow a large vocabulary, all do."""

LEAST = 320
"""Smallest vocabulary that a tokenizer may have."""
SPARE = 8
"""Tokens for pieces of several characters in the smallest vocabulary."""
UNREAD = 1.25
"""Factor on the number of characters found, if not all text was tried."""
NOT_CHARACTERS = 259
"""Tokens of any vocabulary that aren't characters: 256 bytes and three signs."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Lines of training text."""

    lines: Sequence[str]
    whole: bool
    """Whether these are exactly the lines that `start` will train a tokenizer on."""
    validation_bytes: float | None
    """Bytes held out; None if the source wasn't read to its end."""


def read(text: Text, holdout: tuple[int, int]) -> Sample:
    """Return lines of the study's training text; raises `DataError` if it can't be used."""
    if text.source.startswith(HUB):  # reading on would download all of it
        return Sample(lines=_lines(text.beginning), whole=False, validation_bytes=None)
    config = DataConfig(
        source=text.source,
        column=text.column or "text",
        holdout_period=holdout[0],
        holdout_rows=holdout[1],
        rows_per_document=text.rows_per_document,
        max_row_bytes=text.max_row_bytes,
    )
    share = min(1.0, SAMPLE_BYTES / min(READ_BYTES, text.total_bytes or READ_BYTES))
    chosen_bytes, done, held_out, chosen = 0.0, 0.0, 0.0, list[str]()
    for part, document in documents(config):
        length = len(document.encode("utf-8"))
        done += length
        if part == "validation":
            held_out += length
        elif chosen_bytes <= share * done:
            chosen += _lines([document])
            chosen_bytes += length
        if done > READ_BYTES:
            return Sample(lines=chosen, whole=False, validation_bytes=None)
    return Sample(lines=chosen, whole=share == 1.0, validation_bytes=held_out)


def _lines(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in text.splitlines(keepends=True)]


def smallest_vocabulary(sample: Sample) -> int:
    """Return the smallest vocabulary that holds all characters, a multiple of 64.

    It has some room if the sample isn't the whole text.
    """
    try:
        _try(sample.lines, "bpe", LEAST)  # both kinds need the same, and this one is quick
    except VocabularyError as error:
        if error.least is None:
            return LEAST  # `largest_vocabulary` reports it
        needed = NOT_CHARACTERS + (error.least - NOT_CHARACTERS) * (1.0 if sample.whole else UNREAD) + SPARE
        return 64 * -int(-needed // 64)
    return LEAST


def largest_vocabulary(sample: Sample, kind: str, vocabulary: int) -> int | None:
    """Return the largest vocabulary that the text is enough for; None if it is enough for this one.

    Returns None, too, if the sample is much smaller than the text that a tokenizer will be trained on.
    """
    if not sample.whole and sum(map(len, sample.lines)) < SAMPLE_BYTES / 5:
        return None
    try:
        _try(sample.lines[::FEW], kind, vocabulary)
    except VocabularyError:
        try:
            _try(sample.lines, kind, vocabulary)
        except VocabularyError as error:
            if error.most is None:
                raise
            return error.most
    return None


def fit_vocabularies(
    text: Text, machine: Hardware, memory_bytes: float, budget: str | None, speed_of: Speed
) -> tuple[Text, Size]:
    """Return the text with the vocabularies that it allows, and a study's size with none but these.

    Raises `DataError` if the text can't be used, or allows none.
    """
    text = cut(text)
    sample = read(text, holdout(text, machine.kind == "cuda")[0])
    lowest, kind = smallest_vocabulary(sample), "unigram" if machine.kind == "cuda" else "bpe"
    text = replace(text, least_vocabulary=lowest)
    while True:
        sized = replace(size(text, machine, memory_bytes, budget, speed_of), tokenizer=kind)
        highest = largest_vocabulary(sample, kind, sized.vocabularies[-1])
        if highest is None:
            return text, sized if sample.validation_bytes is None else replace(
                sized, validation_bytes=sample.validation_bytes
            )
        if highest >= LEAST:
            rounded = highest // 64 * 64
            fits = (lowest, rounded) if rounded >= lowest else (min(lowest, highest), highest)
            text = replace(text, least_vocabulary=fits[0], most_vocabulary=fits[1])
        elif kind == "unigram":
            kind = "bpe"  # it needs less text
        else:
            raise DataError(
                f"{text.source}: its text is enough for {highest} tokens, but a vocabulary has at least {LEAST}; "
                "give more text, or more varied, with --data"
            )


def _try(lines: Sequence[str], kind: str, vocabulary: int) -> None:
    from model.data.tokenizer import train_tokenizer

    train_tokenizer(lines, TokenizerConfig(kind=kind, vocab_size=vocabulary))
