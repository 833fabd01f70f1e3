"""A whole study of the project in one replay: its own workers, queue, sampler, pruner, promotion and race.

Each worker is the project's `Worker`, in simulated time, whose trainer is the table. What writes files, shows figures or
needs a text is put aside.
"""

import contextlib
import random
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import tomli_w
import torch

from tests.benchmarks.search.answers import Answers
from tests.benchmarks.search.layout import module, part
from tests.benchmarks.search.memory import MemoryDatabase, MemoryOutbox, TableStorage, memory_queue
from tests.benchmarks.search.simulation import Simulation
from tests.benchmarks.table.rows import PERCENTS, Curve, Row

PROXY_SECONDS, LONG_SECONDS = 360.0, 1800.0
"""Simulated seconds of a proxy and of a long run, as babylm.toml's: workers' waits are of that scale."""


def study_file(study: str, long_runs: float, seed: int) -> str:
    """Return the study file for so much money: babylm.toml's proportions, with half of it for proxies.

    Its 100 proxies are 20 long runs' worth, its race of 8 + 1 + 1 candidates, and 3 more, 14 to 18.
    """
    table, share = tomllib.loads(study), long_runs / 40
    table["proxy"] |= {"trials": round(100 * share), "budget": "6m", "seed": seed}
    table["confirm"] |= {
        "budget": "30m",
        "top": max(1, round(8 * share)),
        "random": round(share),
        "widen": round(3 * share),
        "max_hours": long_runs / 2 * LONG_SECONDS / 3600,
    }
    return tomli_w.dumps(table)


@dataclass
class Money:
    """Simulated seconds of training that were spent."""

    seconds: float = 0.0


@dataclass
class TableTrainer:
    """Answers as `model.train` does, from the table, in simulated time."""

    answers: Answers
    simulation: Simulation
    money: Money
    names: tuple[str, ...]
    """The searched settings."""
    first_seed: int
    """Seed of a configuration's first long run."""

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
        """Train: report at every point of the row's curve; raises the project's `DivergedError` where it ends early."""
        settings = [corpus.tokenizer, model, training]
        row = self.answers.row({name: _setting(settings, name) for name in self.names})
        curve, reports = self._curve(row, budget_seconds, seed, horizon_seconds), []
        for index, percent in enumerate(report_points):
            self.simulation.sleep(budget_seconds / len(report_points))
            self.money.seconds += budget_seconds / len(report_points)
            if index >= len(curve.bpb):
                raise part("model.errors", "DivergedError")(f"diverged before {percent}% of the budget")
            reports.append(self._report(curve, index, percent * budget_seconds / 100, training, model))
            if not on_report(reports[-1]) and percent < 100:
                return self._result(row, reports, None)
        return self._result(row, reports, curve.final)

    def _curve(self, row: Row, budget_seconds: float, seed: int, horizon_seconds: float | None) -> Curve:
        if horizon_seconds not in (None, budget_seconds):
            raise ValueError('the table has no proxies of schedule = "prefix"')
        if budget_seconds == PROXY_SECONDS:
            return row.proxy
        if budget_seconds != LONG_SECONDS:
            raise ValueError(
                f"the table has no runs of {budget_seconds:g} s, but of {PROXY_SECONDS} and {LONG_SECONDS}"
            )
        return self.answers.long(row, seed - self.first_seed)

    def _report(self, curve: Curve, index: int, seconds: float, training: Any, model: Any) -> Any:
        return part("model.training.result", "Report")(
            percent=PERCENTS[index],
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


class Stop:
    """The project's request to stop, which never comes; whoever waits for it waits in simulated time."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def __call__(self) -> bool:
        """Return that there is none."""
        return False

    def wait(self, seconds: float) -> bool:
        """Wait for news."""
        self._simulation.wait(seconds)
        return False


@dataclass(frozen=True)
class Found:
    """What a search ended with."""

    export: Row | None
    seconds: float
    """Simulated seconds of training."""
    short: int
    """Short runs begun."""
    long: int
    """Long runs begun."""


def search(answers: Answers, long_runs: float, workers: int) -> Found:
    """Run a study for this much money, of so many long runs, with so many workers, and return what it exports."""
    random.seed(answers.replay)
    text = study_file(answers.table.study, long_runs, answers.replay)
    plan = part("search.study.plan", "Plan").parse(text, name="replay", origin="the table's study")
    simulation, money = Simulation(), Money()
    names = tuple(plan.space.parameters)
    trainer = TableTrainer(answers, simulation, money, names, plan.confirm.first_seed)
    with _without_servers():
        database = MemoryDatabase(TableStorage(answers))
        study = part("search.study.study", "open_study")(database, plan)
        for baseline in plan.baselines.values():
            answers.nearest(baseline)
        for number in range(workers):
            simulation.spawn(partial(_work, study, f"worker-{number}", trainer, simulation))
        simulation.run()
    confirmed = part("search.study.results", "confirmed")(study)
    export = answers.row({name: confirmed[0].params[name] for name in names}) if confirmed else None
    return Found(export, money.seconds, len(study.proxy_trials()), len(study.confirm_trials()))


def _work(study: Any, name: str, trainer: TableTrainer, simulation: Simulation) -> None:
    """Be a worker, from the first claim on."""
    worker = part("search.worker.worker", "Worker")(
        study, name, torch.device("cpu"), Stop(simulation), lambda line: None, trainer=trainer
    )
    worker.outbox = MemoryOutbox(study.database, simulation.changed)
    worker._work()


class NoHeart:
    """A heartbeat that nobody listens for."""

    lost = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def __enter__(self) -> "NoHeart":
        return self

    def __exit__(self, *error: object) -> None:
        pass


def _corpus(study: Any, tokenizer: Any, stop: Any) -> Any:
    """Return in the place of a text what is asked of it: its tokenizer's settings."""
    return SimpleNamespace(tokenizer=tokenizer, train=SimpleNamespace(bytes_per_token=1.0))


def _nothing(*arguments: Any, **options: Any) -> None:
    pass


def _no_facts(*arguments: Any, **options: Any) -> dict[str, Any]:
    return {}


@contextlib.contextmanager
def _without_servers() -> Iterator[None]:
    """Put aside, meanwhile, what of a worker needs a server, a text, a disk or a page to show."""
    run_class = part("search.worker.trial_run", "Run")
    aside: list[tuple[Any, Mapping[str, Any]]] = [
        (module("search.study.study"), {"TrialQueue": memory_queue()}),
        (module("search.worker.worker"), {"Heartbeat": NoHeart, "show": _nothing}),
        (
            module("search.worker.trial_run"),
            {
                **{"shared_corpus": _corpus, "of_run": _no_facts, "hashes": _no_facts, "show_in_turn": _nothing},
                **{"show": _nothing, "record": _nothing, "keep_record": _nothing, "keep_confirmed": _nothing},
            },
        ),
        (run_class, {"_find_states": lambda run: None, "_save": _nothing}),
    ]
    with contextlib.ExitStack() as stack:
        for owner, names in aside:
            for name, value in names.items():
                stack.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, value)
        yield
