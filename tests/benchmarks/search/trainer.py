"""A trainer that answers from the table, in simulated time, where the project's workers expect `model.train`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.search.answers import Answers
from tests.benchmarks.search.layout import part
from tests.benchmarks.search.simulation import Simulation
from tests.benchmarks.table.rows import PERCENTS, Curve, Row

PROXY_SECONDS, LONG_SECONDS = 360.0, 1800.0
"""Simulated seconds of a proxy and of a long run, as babylm.toml's: workers' waits are of that scale."""
PREFIX_REPEAT = 1000
"""Number of the seed of proxies that are the first part of a long run."""


@dataclass
class TableTrainer:
    """Answers as `model.train` does, from the table, in simulated time."""

    answers: Answers
    simulation: Simulation
    names: tuple[str, ...]
    """The searched settings."""
    first_seed: int
    """Seed of a configuration's first long run."""
    seconds: float = field(default=0.0, init=False)
    """Simulated seconds of training, of all runs together."""

    def __call__(
        self,
        model: Any,
        training: Any,
        corpus: Any,
        *,
        budget_seconds: float,
        seed: int,
        on_report: Callable[[Any], bool],
        horizon_seconds: float | None = None,
        report_points: tuple[int, ...] = PERCENTS,
        **options: Any,
    ) -> Any:
        """Train: report where the row's curve has a point; raises the project's `DivergedError` where it ends early.

        A proxy that is the first part of a long run reports at that run's twentieths: where it ends at a tenth, twice.
        """
        settings = [corpus.tokenizer, model, training]
        row = self.answers.row({name: _setting(settings, name) for name in self.names})
        curve, points = self._curve(row, budget_seconds, seed, horizon_seconds)
        reports: list[Any] = []
        for index, percent in enumerate(points):
            self.simulation.sleep(budget_seconds / len(points))
            self.seconds += budget_seconds / len(points)
            if index >= len(curve.bpb):
                raise part("model.errors", "DivergedError")(f"diverged before {percent}% of the budget")
            seconds = percent * budget_seconds / 100
            reports.append(self._report(curve, index, percent, seconds, training, model))
            if not on_report(reports[-1]) and percent < 100:
                return self._result(row, reports, None)
        return self._result(row, reports, curve.bpb[len(points) - 1])

    def _curve(
        self, row: Row, budget_seconds: float, seed: int, horizon_seconds: float | None
    ) -> tuple[Curve, Sequence[int]]:
        """Return a run's curve, and the percents of its budget that its reports are at."""
        if horizon_seconds == LONG_SECONDS and budget_seconds < LONG_SECONDS:
            twentieths = round(budget_seconds / LONG_SECONDS * len(PERCENTS))
            if budget_seconds * len(PERCENTS) != twentieths * LONG_SECONDS or 100 % twentieths:
                raise ValueError(f"the table has no first part of {budget_seconds:g} s of a long run")
            return self.answers.long(row, PREFIX_REPEAT), range(100 // twentieths, 101, 100 // twentieths)
        if budget_seconds == PROXY_SECONDS and horizon_seconds in (None, budget_seconds):
            return row.proxy, PERCENTS
        if budget_seconds != LONG_SECONDS:
            there = f"{PROXY_SECONDS:g} and {LONG_SECONDS:g}"
            raise ValueError(f"a run's budget is {budget_seconds:g} s, but the table has runs of {there} alone")
        return self.answers.long(row, seed - self.first_seed), PERCENTS

    def _report(self, curve: Curve, index: int, percent: int, seconds: float, training: Any, model: Any) -> Any:
        return part("model.training.result", "Report")(
            percent=percent,
            val_bpb=curve.bpb[index],
            train_seconds=seconds,
            tokens=curve.steps[index] * training.batch_size * model.context,
            steps=curve.steps[index],
            learning_rate=training.max_lr,
            train_bpb=curve.train_bpb[index],
        )

    def _result(self, row: Row, reports: list[Any], bpb: float | None) -> Any:
        last = reports[-1]
        seconds = dict.fromkeys(("startup_seconds", "compile_seconds", "evaluate_seconds"), 0.0)
        seconds |= dict.fromkeys(("train_seconds", "total_seconds"), last.train_seconds)
        return part("model.training.result", "Result")(
            val_bpb=bpb,
            reports=tuple(reports),
            network=None,
            n_params=row.n_params,
            steps=last.steps,
            tokens=last.tokens,
            micro_batch=1,
            mode="table",
            precision="float32",
            mfu=0.0,
            **seconds,
        )


def _setting(records: list[Any], name: str) -> Any:
    return next(getattr(record, name) for record in records if hasattr(record, name))
