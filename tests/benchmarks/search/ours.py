"""A whole study of the project in one replay: its own workers, queue, sampler, pruner, promotion and race.

Each worker is the project's `Worker`, in simulated time, whose trainer is the table. What writes files, shows figures
or needs a text is put aside.
"""

import contextlib
import random
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import tomli_w
import torch

from tests.benchmarks.search.answers import Answers
from tests.benchmarks.search.layout import layout, module, part
from tests.benchmarks.search.memory import MemoryDatabase, MemoryOutbox, TableStorage, memory_queue
from tests.benchmarks.search.simulation import Simulation
from tests.benchmarks.search.trainer import LONG_SECONDS, TableTrainer
from tests.benchmarks.table.rows import Row

SPARE_ROWS = 5
"""Rows of the table that proxies leave untouched."""
FEW_LONG_RUNS = 10
"""Money, in long runs, up to which proxies are the first fifth of a long run instead of a whole run of a fifth."""


def study_file(study: str, long_runs: float, seed: int, most: int) -> str:
    """Return the study file for so much money; `most` is the largest number of proxies.

    In babylm.toml's proportions: half of it for whole proxies of a fifth of a long run, and a race of 8 + 1 + 1
    candidates, and 3 more, at 40 long runs' money. Where hours can't end the proxies, they are 5 for each long run's
    worth. With money for few long runs, as docs/howto/cost.md advises: proxies that are the first fifth of a long run,
    and long runs of two candidates at 5, of three at 10.
    """
    table, share, hours = tomllib.loads(study), long_runs / 40, long_runs * LONG_SECONDS / 3600
    table["proxy"] |= {"trials": round(100 * share), "budget": "6m", "seed": seed}
    if layout().proxy_hours:
        table["proxy"] |= {"trials": most, "max_hours": 0.5 * hours}
    table["confirm"] |= {
        "budget": "30m",
        "top": max(1, round(8 * share)),
        "random": round(share),
        "widen": round(3 * share),
        "max_hours": 0.5 * hours,
    }
    if layout().proxy_hours and long_runs <= FEW_LONG_RUNS:
        candidates = 1 + round(long_runs / 5)
        confirm_hours = (1 + candidates) * LONG_SECONDS / 3600
        table["proxy"] |= {"schedule": "prefix", "max_hours": hours - confirm_hours}
        table["confirm"] |= {"top": candidates, "random": 0, "widen": 0, "max_hours": confirm_hours}
    return tomli_w.dumps(table)


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
class Entrant:
    """A configuration with what its runs in a search measured."""

    row: int
    """Number of the configuration."""
    bpb: tuple[float, ...]
    """BPB of its long runs that came to their end."""
    failed: int = 0
    """Long runs that diverged."""
    proxy: float | None = None
    """BPB of its proxy."""


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
    ranking: tuple[Entrant, ...] = ()
    """What the export was chosen among, in the project's order, if it is ours."""


def search(answers: Answers, long_runs: float, workers: int, storage: TableStorage | None = None) -> Found:
    """Run a study for this much money, of so many long runs, with so many workers, and return what it exports.

    Its trials are kept in `storage`; without one, in a new one.
    """
    text = study_file(answers.table.study, long_runs, answers.replay, len(answers.table.rows) - SPARE_ROWS)
    plan = part("search.study.plan", "Plan").parse(text, name="replay", origin="the table's study")
    with without_servers(memory_queue()):
        study = part("search.study.study", "open_study")(MemoryDatabase(storage or TableStorage(answers)), plan)
        seconds = work(study, answers, workers)
    confirmed = part("search.study.results", "confirmed")(study)
    rows = [answers.row({name: c.params[name] for name in plan.space.parameters}) for c in confirmed]
    ranking = tuple(
        Entrant(row.number, tuple(c.bpb_by_seed.values()), c.failed, c.proxy_bpb)
        for row, c in zip(rows, confirmed, strict=True)
    )
    export = rows[0] if rows else None
    return Found(export, seconds, len(study.proxy_trials()), len(study.confirm_trials()), ranking)


def work(study: Any, answers: Answers, workers: int) -> float:
    """Let so many workers do all of a study; returns the simulated seconds of training."""
    random.seed(answers.replay)  # of workers' waits
    for baseline in study.plan.baselines.values():
        answers.nearest(baseline)
    simulation = Simulation()
    trainer = TableTrainer(answers, simulation, tuple(study.plan.space.parameters), study.plan.confirm.first_seed)
    for number in range(workers):
        simulation.spawn(partial(_work, study, f"worker-{number}", trainer, simulation))
    simulation.run()
    return trainer.seconds


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
def without_servers(queue: type[Any]) -> Iterator[None]:
    """Put aside, meanwhile, what of a worker needs a server, a text, a disk or a page to show.

    `queue` stands in the place of the project's own.
    """
    tree = layout()
    aside: list[tuple[Any, Mapping[str, Any]]] = [
        (module("search.study.study"), {"TrialQueue": queue}),
        (module("search.worker.worker"), {"Heartbeat": NoHeart}),
        (module("search.worker.trial_run"), {"shared_corpus": _corpus}),
        (part("search.worker.trial_run", tree.run), dict.fromkeys(tree.no_methods, _nothing)),
        *((module(name), dict.fromkeys(names, _nothing)) for name, names in tree.no_functions.items()),
        *((module(name), dict.fromkeys(names, _no_facts)) for name, names in tree.no_facts.items()),
    ]
    if tree.proxy_hours:  # when a trial was claimed, by a server's clock
        aside.append((part("search.worker.cost_guard", "CostGuard"), {"record_claim": _nothing}))
    with contextlib.ExitStack() as stack:
        for owner, names in aside:
            for name, value in names.items():
                stack.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, value)
        yield
