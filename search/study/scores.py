"""Scores of confirmation runs on minimal pairs, stored as attributes of the runs; nothing is chosen by them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from search.common.stats import wilson
from search.study.trials import attributes_of

UNUSED = "never used to choose"
"""What every export says of scores."""


@dataclass(frozen=True)
class PairScores:
    """Right choices among minimal pairs, of one model or of a configuration's runs together."""

    sha256: str
    """Hash of the pairs."""
    phenomena: Mapping[str, tuple[int, int]]
    """Right choices and pairs of each phenomenon, summed over the runs."""
    paradigm_mean: float
    """Mean accuracy over paradigms, each of equal weight, and over the runs."""
    runs: int = 1

    @property
    def right(self) -> int:
        """Right choices of all phenomena."""
        return sum(right for right, _ in self.phenomena.values())

    @property
    def total(self) -> int:
        """Choices of all runs."""
        return sum(total for _, total in self.phenomena.values())

    @property
    def accuracy(self) -> float:
        """Share of right choices."""
        return self.right / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The accuracy's 95% interval, of one run's pairs.

        Runs of a configuration choose among the same pairs, whose difficulty they share: further runs don't narrow it.
        """
        return _interval(self.right, self.total, self.runs)

    @property
    def text(self) -> str:
        """Accuracy with its interval, as text."""
        return _text(self.accuracy, self.interval)

    def summary(self) -> dict[str, Any]:
        """Return accuracies with intervals, altogether and by phenomenon, as a plain table for exports."""
        phenomena = {name: self._accuracy(*counts) for name, counts in self.phenomena.items()}
        return {
            "note": UNUSED,
            **self._accuracy(self.right, self.total),
            "paradigm_mean": self.paradigm_mean,
            "runs": self.runs,
            "sha256": self.sha256,
            "phenomena": phenomena,
        }

    def _accuracy(self, right: int, total: int) -> dict[str, Any]:
        interval = list(_interval(right, total, self.runs))
        return {"accuracy": right / total, "interval_95": interval, "pairs": total // self.runs}

    def table(self) -> dict[str, Any]:
        """Return the scores of one run as an attribute."""
        phenomena = {name: list(counts) for name, counts in self.phenomena.items()}
        return {"sha256": self.sha256, "phenomena": phenomena, "paradigm_mean": self.paradigm_mean}


def summary_text(summary: Mapping[str, Any]) -> str:
    """Return an accuracy with its interval, in a table of `PairScores.summary`, as text."""
    return _text(summary["accuracy"], summary["interval_95"])


def _interval(right: int, total: int, runs: int) -> tuple[float, float]:
    pairs = max(1, total // runs)
    return wilson(round(right / total * pairs), pairs)


def _text(accuracy: float, interval: Sequence[float]) -> str:
    return f"{accuracy:.1%} ({interval[0]:.1%} … {interval[1]:.1%})"


def scores_of(runs: Sequence[FrozenTrial]) -> PairScores | None:
    """Return the runs' scores together, on the pairs that most of them were scored on; None if none was scored."""
    tables = [scores for run in runs if (scores := attributes_of(run).scores) is not None]
    hashes = [table["sha256"] for table in tables]
    if not tables:
        return None
    sha256 = max(hashes, key=lambda each: (hashes.count(each), each))
    tables = [table for table in tables if table["sha256"] == sha256]
    names = dict.fromkeys(name for table in tables for name in table["phenomena"])
    found = {name: [table["phenomena"][name] for table in tables if name in table["phenomena"]] for name in names}
    phenomena = {name: (sum(c[0] for c in counts), sum(c[1] for c in counts)) for name, counts in found.items()}
    mean = sum(float(table["paradigm_mean"]) for table in tables) / len(tables)
    return PairScores(sha256, phenomena, mean, len(tables))
