"""The measures of what models wrote: the judge's grades, and what is counted; each by model and prompt."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from search.grade.asking import Judged
from search.grade.compare import Values, by_prompt
from search.grade.counts import LONGEST, distinct, known_share, repetition, whole_words
from search.grade.rubric import CRITERIA
from search.grade.writing import Completion

OVERALL = "all four"


@dataclass(frozen=True)
class Measure:
    """One measure of every model."""

    name: str
    values: Values
    """float64 (models, prompts); NaN where there is nothing to measure."""
    form: str
    """Format of a value: a format specification of Python."""
    weight: int = 0
    """Order in which a narrow terminal leaves the measure out; 0 is never."""


def graded(completions: Sequence[Completion], judged: Judged, models: int, prompts: int) -> list[Measure]:
    """Return the mean of all criteria, then each criterion: a judge's grades from 1 to 10, the higher the better."""
    sampled: dict[str, dict[tuple[int, int], list[float]]] = {name: defaultdict(list) for name in (OVERALL, *CRITERIA)}
    for index, completion in enumerate(completions):
        if (grades := judged.grades(index)) is not None:
            place = completion.author, completion.prompt
            sampled[OVERALL][place].append(float(np.mean(list(grades.values()))))
            for name, grade in grades.items():
                sampled[name][place].append(grade)
    return [Measure(name, by_prompt(values, models, prompts), ".2f") for name, values in sampled.items()]


def counted(
    prompts: Sequence[str],
    completions: Sequence[Completion],
    bits: np.ndarray,
    known: Collection[str] | None,
) -> list[Measure]:
    """Return what is counted: length, ends, repetition, distinct n-grams, known words, BPB.

    Args:
        prompts: the prompts.
        completions: every model's.
        bits: float64 (readers, completions), as of `cross_bits`.
        known: those of the completions' words that are known; None if that can't be told.

    """
    models, groups = len(bits), _groups(prompts, completions)
    rules: list[tuple[str, _Rule, str, int]] = [
        ("words", lambda group: float(np.mean([len(words) for words in group.words])), ".1f", 0),
        ("ended", lambda group: float(np.mean(group.ended)), ".0%", 3),
        ("repeated", lambda group: _mean([repetition(words) for words in group.words]), ".1%", 0),
        *((f"distinct-{n}", _distinct(n), ".2f", 4 if 1 < n < LONGEST else 0) for n in range(1, LONGEST + 1)),
        ("known", lambda group: None if known is None else known_share(group.words, known), ".1%", 0),
        ("own BPB", lambda group: _bpb(group, bits[[group.author]]), ".3f", 2),
        ("others' BPB", lambda group: _bpb(group, np.delete(bits, group.author, axis=0)), ".3f", 0),
    ]
    measures = []
    for name, rule, form, weight in rules:
        values = {(g.author, g.prompt): [] if (value := rule(g)) is None else [value] for g in groups}
        measures.append(Measure(name, by_prompt(values, models, len(prompts)), form, weight))
    return measures


@dataclass(frozen=True)
class _Group:
    """A model's samples of one prompt."""

    author: int
    prompt: int
    indices: Sequence[int]
    words: Sequence[Sequence[str]]
    ended: Sequence[bool]
    size: int
    """UTF-8 bytes of all of them."""


_Rule = Callable[[_Group], float | None]
"""Returns the value of a model's samples of one prompt; None where there is nothing to measure."""


def _distinct(n: int) -> _Rule:
    return lambda group: distinct(group.words, n)


def _groups(prompts: Sequence[str], completions: Sequence[Completion]) -> list[_Group]:
    indices: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, completion in enumerate(completions):
        indices[completion.author, completion.prompt].append(index)
    groups = []
    for (author, prompt), own in indices.items():
        mine = [completions[index] for index in own]
        words = [whole_words(prompts[prompt], c.text, c.ended) for c in mine]
        size = sum(len(c.text.encode()) for c in mine)
        groups.append(_Group(author, prompt, own, words, [c.ended for c in mine], size))
    return groups


def all_words(prompts: Sequence[str], completions: Sequence[Completion]) -> set[str]:
    """Return every word that models have written whole."""
    return {word for c in completions for word in whole_words(prompts[c.prompt], c.text, c.ended)}


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _bpb(group: _Group, bits: np.ndarray) -> float | None:
    """Return bits per byte of a model's samples under readers (readers, completions), the mean over these."""
    if not group.size or not len(bits):
        return None
    return float(bits[:, group.indices].sum() / (len(bits) * group.size))


def bpb_matrix(completions: Sequence[Completion], bits: np.ndarray) -> np.ndarray:
    """Return float64 (writers, readers): BPB of all that a model wrote under each model; NaN if it wrote nothing."""
    sizes, sums = np.zeros(len(bits)), np.zeros((len(bits), len(bits)))
    for index, completion in enumerate(completions):
        sizes[completion.author] += len(completion.text.encode())
        sums[completion.author] += bits[:, index]
    return np.where(sizes[:, None] > 0, sums / np.maximum(1, sizes)[:, None], np.nan)
