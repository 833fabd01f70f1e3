"""The configuration of a proxy trial: drawn by the study's sampler, and different from that of every other trial.

Optuna's samplers are asked on a copy of the study in memory, so that a draw can be discarded: in a storage, a
parameter that was set can't be changed. The copy also holds trials that Optuna would leave out: those that failed by
their own fault, and, for the Gaussian process, pruned ones.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from search.common.errors import SpaceExhaustedError
from search.strategy.hand_made import coordinates_near
from search.strategy.joint import JointModel, can_learn, full_budget_runs
from search.strategy.quasi_random import PointSuggester, seed_from, sobol
from search.strategy.sampler_history import sampler_history
from search.study.plan import Plan
from search.study.space import MAX_GRID_POINTS, Params, Space, params_key
from search.study.study import LinkedStudy
from search.study.trials import SAMPLER, attributes_of, trial_params

MAX_DRAWS = 8
"""Draws for a trial before a neighbour of the first one is taken.

A Gaussian process is asked only twice: it mostly proposes the same again, and slowly.
"""

MAX_NEIGHBOUR_DRAWS = 1000
"""Random neighbours that are tried before the space counts as exhausted."""

RANDOM_CHOICES = 512
"""Random configurations among which the joint model chooses."""
CENTRES, NEIGHBOURS, NEIGHBOUR_DEVIATION = 6, 48, 0.1
"""Configurations with the best predictions, neighbours of each among which it chooses too, and how far these lie."""


def tpe(seed: int) -> BaseSampler:
    """Return Optuna's TPE, univariate, with running trials counted as bad.

    These settings were the best with 16 workers (docs/measurements.md), and with one as good as multivariate TPE.
    """
    return TPESampler(seed=seed, n_startup_trials=1, multivariate=False, constant_liar=True)


def gaussian_process(seed: int) -> BaseSampler:
    """Return Optuna's Gaussian process over the unconditional parameters; TPE draws the conditional ones."""
    others = TPESampler(seed=seed, n_startup_trials=1, multivariate=False)
    return GPSampler(seed=seed, n_startup_trials=1, independent_sampler=others, warn_independent_sampling=False)


LEARNING_SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {"tpe": tpe, "gp": gaussian_process}


@dataclass(frozen=True)
class Draw:
    """Parameters for a trial, and how they were drawn."""

    params: Params
    kind: str
    """Name of the sampler that drew them, "baseline" if it began near a hand-made configuration.

    "neighbour" if its own draws had all been given to other trials.
    """
    seed: int
    """Seed of the sampler's randomness."""


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Draws each trial's parameters, with randomness that depends on the study's seed and the trial's number alone."""

    space: Space
    fixed: Mapping[str, Any]
    """Settings outside the space, which its conditions may name."""
    kind: str
    """Name of the sampler: joint, tpe, gp, qmc or random."""
    seed: int
    startup: int
    """Trials that must have ended before a learning sampler is used."""
    start: str = "random"
    """Name of the sampler that is used until then: random or qmc."""
    baselines: Sequence[Params] = ()
    """Hand-made configurations, near which some trials are drawn until then."""
    near_baselines: float = 0.0
    """Share of those draws."""

    def draw(
        self,
        trials: Sequence[FrozenTrial],
        number: int,
        given: Mapping[str, Any],
        long_runs: Callable[[], Sequence[FrozenTrial]] = tuple,
    ) -> Draw:
        """Return new parameters for the trial of this number, `given` among them; `trials` are all so far.

        `long_runs` returns the confirmation runs at the full budget, for the joint model. Raises `SpaceExhaustedError`
        if every configuration has been given to a trial.
        """
        others = [t for t in trials if t.number != number]
        taken = {params_key(trial_params(t)) for t in others}
        if self.kind == "joint":
            return self._draw_jointly(others, number, given, taken, long_runs)
        history = self._history(others)
        draws = []
        for attempt in range(2 if self.kind == "gp" else MAX_DRAWS):
            draws.append(self._draw(history, number, attempt, given))
            if params_key(draws[-1].params) not in taken:
                return draws[-1]
        return self._neighbour(draws[0].params, taken, number, given)

    def _draw_jointly(
        self,
        others: Sequence[FrozenTrial],
        number: int,
        given: Mapping[str, Any],
        taken: set[frozenset[Any]],
        long_runs: Callable[[], Sequence[FrozenTrial]],
    ) -> Draw:
        """Return the free configuration of which the most is expected in a long run; points of a sequence at first."""
        if not can_learn(others) or sum(t.state.is_finished() for t in others) < self.startup:
            drawn = self._draw_without_history("qmc", number, 0, given)
            is_new = params_key(drawn.params) not in taken
            return drawn if is_new else self._neighbour(drawn.params, taken, number, given)
        model = JointModel(self.space, others, long_runs())
        seed = seed_from(self.seed, number, 0)
        choices = self._near_and_far(model, np.random.default_rng(seed), given)
        for index in np.argsort(-model.improvement(choices), kind="stable"):
            if params_key(choices[index]) not in taken:
                return Draw(choices[index], "joint", seed)
        return self._neighbour(choices[0], taken, number, given)

    def _near_and_far(self, model: JointModel, rng: np.random.Generator, given: Mapping[str, Any]) -> list[Params]:
        """Return random configurations, and neighbours of those that look best."""
        choices = [self._at_point(rng.random(len(self.space.parameters)), given) for _ in range(RANDOM_CHOICES)]
        for centre in model.best_seen(CENTRES):
            places = model.encoding.places({k: v for k, v in centre.items() if k in self.space.parameters})
            for _ in range(NEIGHBOURS):
                moved = {
                    name: min(max(place + NEIGHBOUR_DEVIATION * rng.standard_normal(), 0.0), 1 - 1e-9)
                    if rng.random() < 0.5
                    else place
                    for name, place in places.items()
                }
                rest = {name: rng.random() for name in self.space.parameters}
                choices.append(self.space.suggest(PointSuggester({**rest, **moved}, given), self.fixed))
        return choices

    def _history(self, others: Sequence[FrozenTrial]) -> list[FrozenTrial] | None:
        """Return the trials to learn from; None if the sampler doesn't learn or too few trials have ended."""
        history = sampler_history(self.kind, others, self.space) if self.kind in LEARNING_SAMPLERS else []
        ended = sum(t.state != TrialState.RUNNING for t in history)
        return history if self.kind in LEARNING_SAMPLERS and ended >= self.startup else None

    def _draw(self, history: list[FrozenTrial] | None, number: int, attempt: int, given: Mapping[str, Any]) -> Draw:
        if history is None:
            return self._draw_without_history(
                self.start if self.kind in LEARNING_SAMPLERS else self.kind, number, attempt, given
            )
        seed = seed_from(self.seed, number, attempt)
        return Draw(self._ask(LEARNING_SAMPLERS[self.kind](seed), history, given), self.kind, seed)

    def _draw_without_history(self, kind: str, number: int, attempt: int, given: Mapping[str, Any]) -> Draw:
        size = len(self.space.parameters)
        if self.baselines and self.kind in LEARNING_SAMPLERS:
            seed = seed_from(self.seed, number, attempt, 1)
            rng = np.random.default_rng(seed)
            if rng.random() < self.near_baselines:
                point = coordinates_near(self.space, self.baselines[int(rng.integers(len(self.baselines)))], rng)
                return Draw(self._at_point(point, given), "baseline", seed)
        if kind == "qmc":
            seed = seed_from(self.seed, attempt)  # the same for all trials: they are points of one sequence
            return Draw(self._at_point(sobol(size, seed, number), given), "qmc", seed)
        seed = seed_from(self.seed, number, attempt)
        return Draw(self._at_point(np.random.default_rng(seed).random(size), given), "random", seed)

    def _ask(self, sampler: BaseSampler, history: list[FrozenTrial], given: Mapping[str, Any]) -> Params:
        study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), sampler=sampler)
        study.add_trials(history)
        study.enqueue_trial(dict(given))
        return self.space.suggest(study.ask(), self.fixed)

    def _at_point(self, point: Iterable[float], given: Mapping[str, Any]) -> Params:
        coordinates = dict(zip(self.space.parameters, map(float, point), strict=True))
        return self.space.suggest(PointSuggester(coordinates, given), self.fixed)

    def _neighbour(self, near: Params, taken: set[frozenset[Any]], number: int, given: Mapping[str, Any]) -> Draw:
        """Return a configuration that no trial has, as near as possible to one that is taken."""
        seed = seed_from(self.seed, number, -1)
        rng = np.random.default_rng(seed)
        every = self.space.configurations(self.fixed, max(MAX_GRID_POINTS, 2 * len(taken)))
        if every is not None:
            free = [p for p in every if params_key(p) not in taken and given.items() <= p.items()]
            if not free:
                raise SpaceExhaustedError(
                    f"all {len(every)} configurations of [space] have been given to trials; "
                    "ask for fewer trials, or widen the space in a new study"
                )
            order = rng.permutation(len(free))
            return Draw(min((free[i] for i in order), key=lambda p: self._distance(p, near)), "neighbour", seed)
        for index in range(MAX_NEIGHBOUR_DRAWS):
            unchanged = {k: v for k, v in near.items() if rng.random() > index / MAX_NEIGHBOUR_DRAWS}
            params = self._at_point(rng.random(len(self.space.parameters)), {**unchanged, **given})
            if params_key(params) not in taken:
                return Draw(params, "neighbour", seed)
        raise SpaceExhaustedError(f"{MAX_NEIGHBOUR_DRAWS} draws from [space] in a row had all been given to trials")

    def _distance(self, a: Params, b: Params) -> float:
        """Return the number of parameters in which two configurations differ.

        Two values of a range differ by the share of the range that lies between them.
        """
        total = 0.0
        for name in a.keys() | b.keys():
            parameter = self.space.parameters[name]
            if name in a and name in b and parameter.choices is None:
                total += abs(a[name] - b[name]) / ((parameter.high or 0) - (parameter.low or 0))
            else:
                total += a.get(name) != b.get(name)
        return total


def ensure_parameters(study: LinkedStudy, trial_id: int) -> None:
    """Draw a claimed proxy trial's parameters, unless it has them: as a baseline, a grid point or a retry.

    A lock of the study makes sure that each draw sees the parameters of all other trials. They are stored in one
    write, where Optuna's own queue keeps parameters for `suggest`: a worker that dies leaves all of them or none.
    """
    plan, storage = study.plan, study.database.storage
    trial = storage.get_trial(trial_id)
    given, searched = trial_params(trial), plan.searched(trial_params(trial))
    own = attributes_of(trial).baseline is not None or bool(plan.ideas)  # which may set what others don't search
    if searched == given.keys() or (own and searched <= given.keys()):
        return
    with study.database.lock(f"lilm-search/draw/{plan.name}"):
        trials = study.proxy_queue.with_attributes()
        drawn = sampler_of(plan).draw(trials, trial.number, given, partial(full_budget_runs, study))
        storage.set_trial_user_attr(trial_id, SAMPLER, {"kind": drawn.kind, "seed": drawn.seed})
        storage.set_trial_system_attr(trial_id, "fixed_params", drawn.params)


def sampler_of(plan: Plan) -> Sampler:
    """Return the sampler that a study's plan asks for."""
    proxy = plan.proxy
    return Sampler(
        space=plan.space,
        fixed=plan.fixed(),
        kind=proxy.sampler,
        seed=proxy.seed,
        startup=proxy.startup,
        baselines=tuple(plan.baselines.values()),
        near_baselines=proxy.near_baselines,
    )
