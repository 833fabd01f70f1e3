"""What can be counted in texts without a judge: length, repetition, distinct n-grams, known words."""

import re
from collections.abc import Collection, Iterable, Sequence

Words = Sequence[str]
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
"""A word: letters of any script, with apostrophes inside it."""
LONGEST = 4
"""The longest n-grams that are counted."""


def words_of(text: str) -> list[str]:
    """Return a text's words in lower case."""
    return [match[0].replace("’", "'") for match in _WORD.finditer(text.lower())]


def whole_words(prompt: str, completion: str, ended: bool) -> list[str]:
    """Return the words that a completion has written whole or has completed.

    A word that the prompt has begun counts as completed. The last one is left out if the completion was cut off within
    it: it may be the beginning of another.
    """
    text = (prompt + completion).lower()
    found = [match for match in _WORD.finditer(text) if match.end() > len(prompt.lower())]
    if found and not ended and found[-1].end() == len(text):
        found.pop()
    return [match[0].replace("’", "'") for match in found]


def ngrams(words: Words, n: int) -> list[tuple[str, ...]]:
    """Return the n-grams of a text in their order."""
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def repetition(words: Words, n: int = LONGEST) -> float | None:
    """Return the share of a text's n-grams that were there before: 1 - distinct / all.

    It is seq-rep-n of Welleck et al. 2020 (arXiv:1908.04319). None if the text has no n-gram.
    """
    grams = ngrams(words, n)
    return 1 - len(set(grams)) / len(grams) if grams else None


def distinct(texts: Sequence[Words], n: int) -> float | None:
    """Return the distinct n-grams of texts together, divided by all their words; None if there are no words.

    It is distinct-n of Li et al. 2016 (arXiv:1510.03055). It falls as texts become longer.
    """
    total = sum(map(len, texts))
    return len({gram for words in texts for gram in ngrams(words, n)}) / total if total else None


def known_share(texts: Sequence[Words], known: Collection[str]) -> float | None:
    """Return the share of the texts' words, repeated ones included, that are known; None if there are no words."""
    total = sum(map(len, texts))
    return sum(word in known for words in texts for word in words) / total if total else None


def known_among(words: Iterable[str], texts: Iterable[str]) -> set[str]:
    """Return those of the words that occur in texts, which are read as far as it needs."""
    wanted, known = set(words), set[str]()
    for text in texts:
        known |= wanted.intersection(words_of(text))
        if known == wanted:
            break
    return known
