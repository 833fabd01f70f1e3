"""Models compared prompt by prompt: means with intervals, and differences that more than chance explains."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from search.common.student import student_quantile
from search.study.results import Lead, Significance

Values = np.ndarray
"""float64 (models, prompts): a model's mean over its samples of a prompt; NaN where nothing was measured."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean over prompts with its 95% interval, by Student's t."""

    value: float
    half_width: float | None
    """None with fewer than two prompts."""
    prompts: int

    @property
    def table(self) -> dict[str, float | int | None]:
        """The same as a plain table."""
        low, high = (None if self.half_width is None else self.value + s * self.half_width for s in (-1, 1))
        return {"mean": self.value, "low": low, "high": high, "prompts": self.prompts}


def mean(values: np.ndarray, confidence: float = CONFIDENCE) -> Mean | None:
    """Return the mean of values (prompts), NaN left out; None if there is none.

    Prompts are what the interval is over: samples of one prompt are alike, and more of them don't make up for few
    prompts.
    """
    values = values[~np.isnan(values)]
    n = len(values)
    if not n:
        return None
    half = student_quantile(n - 1, confidence) * float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    return Mean(float(values.mean()), half, n)


@dataclass(frozen=True)
class Difference:
    """A model's mean minus another's, over the prompts that both have."""

    difference: Mean

    @property
    def significance(self) -> Significance:
        """Whether chance explains the difference."""
        return Lead(self.difference.value, self.difference.half_width).significance

    @property
    def table(self) -> dict[str, float | int | str | None]:
        """The same as a plain table."""
        verdicts = {Significance.MORE_THAN_NOISE: "more than chance", Significance.MAY_BE_CHANCE: "may be chance"}
        return {**self.difference.table, "verdict": verdicts.get(self.significance, "not known")}


def difference(one: np.ndarray, other: np.ndarray, models: int) -> Difference | None:
    """Return the paired difference of two models' values (prompts); None if they have no prompt in common.

    Pairs take out how hard a prompt is. With several models, the leader is picked by looking, so the interval is
    Bonferroni's for all pairs of models: each at 1 - 0.05 / pairs.
    """
    pairs = max(1, models * (models - 1) // 2)
    found = mean(one - other, 1 - (1 - CONFIDENCE) / pairs)
    if found is not None and found.half_width == 0:  # whole grades may agree by luck, which proves nothing
        found = replace(found, half_width=None)
    return None if found is None else Difference(found)


def ranked(values: Values) -> list[int]:
    """Return the models' indices, the highest mean first; those without any value last."""
    means = [found.value if (found := mean(row)) is not None else -math.inf for row in values]
    return sorted(range(len(values)), key=lambda model: -means[model])


def by_prompt(values: Mapping[tuple[int, int], Sequence[float]], models: int, prompts: int) -> Values:
    """Return the mean of each model's and prompt's values."""
    means = np.full((models, prompts), np.nan)
    for (model, prompt), sampled in values.items():
        if sampled:
            means[model, prompt] = float(np.mean(sampled))
    return means
