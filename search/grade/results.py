"""All that was found of models' writing, and its forms for machines: JSON, and the samples line by line."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from search.grade.asking import Judged
from search.grade.authors import Author
from search.grade.compare import Difference, difference, mean, ranked
from search.grade.measures import Measure
from search.grade.spending import Spending
from search.grade.writing import Completion, SampleSettings


@dataclass(frozen=True, kw_only=True)
class JudgeReport:
    """What was asked of a judge."""

    address: str
    model: str
    judged: Judged
    spending: Spending
    nonsense: Mapping[int, int]
    """Answers without grades, by model."""

    @property
    def table(self) -> dict[str, Any]:
        """The same as a plain table."""
        spending = self.spending
        return {
            "address": self.address,
            "model": self.model,
            "completions": len(self.judged.answers),
            "answers": self.judged.asked,
            "kept_answers": self.judged.kept,
            "nonsense": sum(self.nonsense.values()),
            "requests": spending.requests,
            "input_tokens": None if spending.uncounted else spending.input_tokens,
            "output_tokens": None if spending.uncounted else spending.output_tokens,
            "usd": spending.usd,
            "stopped": self.judged.cap or None,
        }


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that was found."""

    authors: Sequence[Author]
    prompts: Sequence[str]
    completions: Sequence[Completion]
    settings: SampleSettings
    grades: Sequence[Measure]
    """The judge's, the overall one first; empty without a judge."""
    counts: Sequence[Measure]
    matrix: np.ndarray
    """float64 (writers, readers): BPB of what each model wrote under each model."""
    judge: JudgeReport | None
    notes: Sequence[str]

    @cached_property
    def order(self) -> list[int]:
        """The models' indices: by the judge's overall grade, or as they were named."""
        return ranked(self.grades[0].values) if self.grades else list(range(len(self.authors)))

    def behind(self, measure: Measure, model: int) -> Difference | None:
        """Return a model's difference from the first of the order; None for the first itself."""
        first = self.order[0]
        return None if model == first else difference(measure.values[model], measure.values[first], len(self.authors))


def as_json(results: Results) -> str:
    """Return all figures as JSON; what isn't known is null."""
    names = [author.name for author in results.authors]
    measures = [*results.grades, *results.counts]
    table = {
        "judge": None if results.judge is None else results.judge.table,
        "prompts": len(results.prompts),
        "settings": asdict(results.settings),
        "notes": list(results.notes),
        "models": [
            {
                "model": names[i],
                "source": results.authors[i].source,
                "graded": None if results.judge is None else graded_completions(results, i),
                "nonsense": None if results.judge is None else results.judge.nonsense.get(i, 0),
                "measures": {m.name: found.table if (found := mean(m.values[i])) else None for m in measures},
                "difference_to_first": {
                    m.name: gap.table for m in results.grades if (gap := results.behind(m, i)) is not None
                },
                "bpb_under": {
                    name: None if math.isnan(bpb) else float(bpb)
                    for name, bpb in zip(names, results.matrix[i], strict=True)
                },
            }
            for i in results.order
        ],
    }
    return json.dumps(table, indent=2, ensure_ascii=False, allow_nan=False)


def graded_completions(results: Results, model: int) -> int:
    """Return how many of a model's completions have grades."""
    if results.judge is None:
        return 0
    judged = results.judge.judged
    return sum(judged.grades(i) is not None for i, c in enumerate(results.completions) if c.author == model)


def lines(results: Results) -> Iterator[str]:
    """Yield each completion as a line of JSON, with its grades and the judge's words, for people to read."""
    for index, completion in enumerate(results.completions):
        row = {
            "prompt": results.prompts[completion.prompt],
            "completion": completion.text,
            "sample": completion.sample,
            "ended": completion.ended,
            "model": results.authors[completion.author].name,
        }
        if results.judge is not None:
            judged = results.judge.judged
            row |= {"grades": judged.grades(index), "judge": judged.answers.get(index)}
        yield json.dumps(row, ensure_ascii=False) + "\n"
