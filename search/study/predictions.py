"""Predictions of candidates' long runs, stored with the study where its race is decided, for all that show them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search.study.trials import PREDICTED, VALIDATORS

PREDICTIONS = "predictions"
"""Attribute of the confirmation runs' study that holds the predictions."""
MIN_PROXIES, MIN_LONG_RUNS = 20, 3
"""Proxies, and long runs at the full budget, that must have ended before anything is predicted."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The BPB that a candidate's long run is predicted to have."""

    bpb: float
    half_width: float
    """Half of the 90% interval in which the run's BPB is predicted to lie, its own noise included."""
    long_runs: int
    """Long runs that were known."""

    def holds(self, bpb: float) -> bool:
        """Return whether a run's BPB lies within the interval."""
        return abs(bpb - self.bpb) <= self.half_width


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """A study's predictions, the latest of each candidate before its first long run ended."""

    by_candidate: Mapping[str, Prediction] = field(default_factory=dict)
    """The predictions by the candidates' keys."""
    proxies: int = 0
    """Ended proxies that were known at the latest prediction."""
    long_runs: int = 0
    """Ended long runs that were known then."""

    def table(self) -> dict[str, Any]:
        """Return the predictions as they are stored."""
        by_candidate = {key: [p.bpb, p.half_width, p.long_runs] for key, p in self.by_candidate.items()}
        return {"proxies": self.proxies, "long_runs": self.long_runs, "by_candidate": by_candidate}


def stored_predictions(attributes: Mapping[str, Any]) -> Predictions:
    """Return the predictions among a study's attributes, without those of another form: any worker may write them."""
    stored = attributes.get(PREDICTIONS)
    table = stored if isinstance(stored, dict) else {}
    rows = table.get("by_candidate")
    predictions = {str(key): _prediction(row) for key, row in (rows if isinstance(rows, dict) else {}).items()}
    return Predictions(
        by_candidate={key: prediction for key, prediction in predictions.items() if prediction},
        proxies=_count(table.get("proxies")),
        long_runs=_count(table.get("long_runs")),
    )


def _prediction(row: Any) -> Prediction | None:
    if not isinstance(row, list) or len(row) != 3 or not all(VALIDATORS[PREDICTED](value) for value in row):
        return None
    return Prediction(bpb=row[0], half_width=abs(row[1]), long_runs=_count(row[2]))


def _count(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0
