"""Ways to spend the same money on a search, each on Optuna alone but for those of the project."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from tests.benchmarks.search import ours
from tests.benchmarks.search.answers import Answers
from tests.benchmarks.search.layout import part
from tests.benchmarks.search.memory import TableStorage
from tests.benchmarks.search.ours import Found
from tests.benchmarks.search.simulation import Simulation
from tests.benchmarks.search.trainer import LONG_SECONDS, PROXY_SECONDS
from tests.benchmarks.table.rows import PERCENTS, Curve

Arm = Callable[[Answers, float, int], Found]
"""Searches one replay's table for the money of so many long runs with so many workers."""
MOST_PROXIES = 100
"""Of the original's search."""


@dataclass
class Purse:
    """Simulated seconds of training: what there is, was spent, and is bound by runs under way."""

    limit: float
    spent: float = 0.0
    bound: float = 0.0

    def take(self, seconds: float) -> bool:
        """Bind so much for a run, if it is there; a billionth is rounding."""
        if self.spent + self.bound + seconds > self.limit * (1 + 1e-9):
            return False
        self.bound += seconds
        return True

    def settle(self, bound: float, spent: float) -> None:
        """Give back what a run was given, and take what it used."""
        self.bound -= bound
        self.spent += spent


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Optuna's own loop, asking and telling, on long runs or on proxies alone; the best value is exported.

    The baseline by hand is the first trial where `baseline` says so.
    """

    sampler: Callable[[int], BaseSampler]
    pruner: Callable[[], BasePruner] = NopPruner
    short: bool = False
    baseline: bool = True
    most: int | None = None
    """Trials at most, however much money there is."""

    def __call__(self, answers: Answers, long_runs: float, workers: int) -> Found:
        """Search."""
        simulation, purse = Simulation(), Purse(long_runs * LONG_SECONDS)
        storage = TableStorage(answers)
        study = optuna.create_study(
            storage=storage, sampler=self.sampler(answers.replay), pruner=self.pruner(), study_name="plain"
        )
        if self.baseline:
            study.enqueue_trial(dict(answers.table.rows[0].params))
        for _ in range(workers):
            simulation.spawn(partial(self._work, study, storage, purse, simulation))
        simulation.run()
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        best = min(done, key=lambda t: (t.value, t.number), default=None)
        export = None if best is None else answers.row(best.params)
        begun = len(study.get_trials(deepcopy=False))
        return Found(export, purse.spent, begun * self.short, begun * (not self.short))

    def _work(self, study: optuna.Study, storage: TableStorage, purse: Purse, simulation: Simulation) -> None:
        """Be a worker; runs under way that end early may leave money for one that has found none."""
        space, seconds = distributions(storage.answers), PROXY_SECONDS if self.short else LONG_SECONDS
        most = min(self.most or math.inf, len(storage.answers.table.rows))
        while len(storage.answers.used) < most:
            if not purse.take(seconds):
                if not purse.bound:
                    return
                simulation.wait(0.0)
                continue
            trial = study.ask(space)
            row = storage.answers.row(storage.settle(trial._trial_id))
            curve = row.proxy if self.short else storage.answers.long(row, 0)
            spent = self._train(study, trial, curve, seconds, simulation)
            purse.settle(seconds, spent)
            simulation.changed()

    def _train(
        self, study: optuna.Study, trial: optuna.Trial, curve: Curve, seconds: float, simulation: Simulation
    ) -> float:
        """Go along a curve as far as the pruner lets it; returns the seconds that took."""
        for done, percent in enumerate(PERCENTS, 1):
            simulation.sleep(seconds / len(PERCENTS))
            if done > len(curve.bpb):
                study.tell(trial, state=TrialState.FAIL)
                return seconds * percent / 100
            trial.report(curve.bpb[done - 1], percent)
            if percent < 100 and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                return seconds * percent / 100
        study.tell(trial, curve.final)
        return seconds


def distributions(answers: Answers) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions of the table's space."""
    return {name: _distribution(entry) for name, entry in answers.scale.entries.items()}


def _distribution(entry: Mapping[str, object]) -> BaseDistribution:
    if "choices" in entry:
        return optuna.distributions.CategoricalDistribution(tuple(entry["choices"]))  # type: ignore[arg-type]
    low, high, log = entry["low"], entry["high"], bool(entry.get("log"))
    if isinstance(low, int) and isinstance(high, int):
        return optuna.distributions.IntDistribution(low, high, log=log, step=int(str(entry.get("step", 1))))
    return optuna.distributions.FloatDistribution(float(str(low)), float(str(high)), log=log)


def tpe(seed: int) -> BaseSampler:
    """Return Optuna's TPE with its defaults, and running trials counted as bad, as several workers need it."""
    return TPESampler(seed=seed, constant_liar=True)


def correlation_pruner() -> BasePruner:
    """Return the project's pruner."""
    pruner: BasePruner = part("search.strategy.pruner", "CorrelationPruner")()
    return pruner


ARMS: dict[str, Arm] = {
    "ours": ours.search,
    "TPE on proxies, best exported": Plain(sampler=tpe, short=True, baseline=False, most=MOST_PROXIES),
    "TPE": Plain(sampler=tpe),
    "TPE, median": Plain(sampler=tpe, pruner=MedianPruner),
    "TPE, our pruner": Plain(sampler=tpe, pruner=correlation_pruner),
    "TPE, ASHA": Plain(sampler=tpe, pruner=partial(SuccessiveHalvingPruner, min_resource=5)),
    "TPE, Hyperband": Plain(sampler=tpe, pruner=partial(HyperbandPruner, min_resource=5, max_resource=100)),
    "random": Plain(sampler=lambda seed: RandomSampler(seed=seed)),
}
