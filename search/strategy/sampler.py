"""What a proxy trial trains: drawn by the study's sampler, and never what another trial was given.

Optuna's samplers are asked on a copy of the study in memory, so that a draw can be thrown away: in a storage a
parameter once set stays. The copy also says what Optuna would leave out: trials that failed by their own fault, and,
to the Gaussian process, pruned ones.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from search.common.errors import SpaceExhaustedError
from search.strategy.quasi_random import Placed, seed_from, sobol
from search.strategy.sampler_history import lesson_for
from search.study.space import MOST_POINTS, Params, Space, identity
from search.study.study import LinkedStudy
from search.study.trials import SAMPLER, given_to

MOST_DRAWS = 8
"""Of a trial, before a neighbour of the first is taken; 2 of a Gaussian process, which says the same again, slowly."""

MOST_NEIGHBOURS = 1000


def tpe(seed: int) -> BaseSampler:
    """Return Optuna's TPE, each parameter on its own, whatever it hangs on, with running trials counted as bad.

    The best of its settings with 16 workers (docs/measurements.md); with one, as good as all parameters together.
    """
    return TPESampler(seed=seed, n_startup_trials=1, multivariate=False, constant_liar=True)


def gaussian_process(seed: int) -> BaseSampler:
    """Return Optuna's Gaussian process over what all trials have in common; TPE draws what hangs on a condition."""
    others = TPESampler(seed=seed, n_startup_trials=1, multivariate=False)
    return GPSampler(seed=seed, n_startup_trials=1, independent_sampler=others, warn_independent_sampling=False)


LEARNERS: dict[str, Callable[[int], BaseSampler]] = {"tpe": tpe, "gp": gaussian_process}


@dataclass(frozen=True)
class Draw:
    """Parameters for a trial, and how they came about: the sampler, and the seed of its randomness."""

    params: Params
    kind: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Draws each trial's parameters, with randomness that depends on the study's seed and the trial's number alone."""

    space: Space
    fixed: Mapping[str, Any]
    """Settings outside the space, which its conditions may name."""
    kind: str
    """tpe, gp, qmc or random."""
    seed: int
    startup: int
    """Trials that must have ended before a learning sampler learns."""
    start: str = "random"
    """What draws until then: random or qmc."""

    def draw(self, trials: Sequence[FrozenTrial], number: int, given: Mapping[str, Any]) -> Draw:
        """Return new parameters for the trial of this number, `given` among them; `trials` are all so far.

        Raises `SpaceExhaustedError` where every configuration has been given to a trial.
        """
        others = [t for t in trials if t.number != number]
        taken = {identity(given_to(t)) for t in others}
        lesson = self._lesson(others)
        draws = []
        for attempt in range(2 if self.kind == "gp" else MOST_DRAWS):
            draws.append(self._draw(lesson, number, attempt, given))
            if identity(draws[-1].params) not in taken:
                return draws[-1]
        return self._neighbour(draws[0].params, taken, number, given)

    def _lesson(self, others: Sequence[FrozenTrial]) -> list[FrozenTrial] | None:
        """Return what there is to learn from, where the sampler learns and there is enough of it."""
        lesson = lesson_for(self.kind, others, self.space) if self.kind in LEARNERS else []
        ended = sum(t.state != TrialState.RUNNING for t in lesson)
        return lesson if self.kind in LEARNERS and ended >= self.startup else None

    def _draw(self, lesson: list[FrozenTrial] | None, number: int, attempt: int, given: Mapping[str, Any]) -> Draw:
        if lesson is None:
            return self._unlearned(self.start if self.kind in LEARNERS else self.kind, number, attempt, given)
        seed = seed_from(self.seed, number, attempt)
        return Draw(self._ask(LEARNERS[self.kind](seed), lesson, given), self.kind, seed)

    def _unlearned(self, kind: str, number: int, attempt: int, given: Mapping[str, Any]) -> Draw:
        size = len(self.space.parameters)
        if kind == "qmc":
            seed = seed_from(self.seed, attempt)  # of one sequence for all trials
            return Draw(self._place(sobol(size, seed, number), given), "qmc", seed)
        seed = seed_from(self.seed, number, attempt)
        return Draw(self._place(np.random.default_rng(seed).random(size), given), "random", seed)

    def _ask(self, sampler: BaseSampler, lesson: list[FrozenTrial], given: Mapping[str, Any]) -> Params:
        study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), sampler=sampler)
        study.add_trials(lesson)
        study.enqueue_trial(dict(given))
        return self.space.suggest(study.ask(), self.fixed)

    def _place(self, point: Iterable[float], given: Mapping[str, Any]) -> Params:
        coordinates = dict(zip(self.space.parameters, map(float, point), strict=True))
        return self.space.suggest(Placed(coordinates, given), self.fixed)

    def _neighbour(self, near: Params, taken: set[frozenset[Any]], number: int, given: Mapping[str, Any]) -> Draw:
        """Return a configuration that is nobody's, as near as can be to one that is."""
        seed = seed_from(self.seed, number, -1)
        rng = np.random.default_rng(seed)
        every = self.space.configurations(self.fixed, max(MOST_POINTS, 2 * len(taken)))
        if every is not None:
            free = [p for p in every if identity(p) not in taken and given.items() <= p.items()]
            if not free:
                raise SpaceExhaustedError(
                    f"all {len(every)} configurations of [space] have been given to trials; "
                    "ask for fewer trials, or widen the space in a new study"
                )
            order = rng.permutation(len(free))
            return Draw(min((free[i] for i in order), key=lambda p: self._distance(p, near)), "neighbour", seed)
        for index in range(MOST_NEIGHBOURS):
            kept = {k: v for k, v in near.items() if rng.random() > index / MOST_NEIGHBOURS}
            params = self._place(rng.random(len(self.space.parameters)), {**kept, **given})
            if identity(params) not in taken:
                return Draw(params, "neighbour", seed)
        raise SpaceExhaustedError(f"{MOST_NEIGHBOURS} draws from [space] in a row had all been given to trials")

    def _distance(self, a: Params, b: Params) -> float:
        """Return in how many parameters two configurations differ, a step in a range counting as its part of it."""
        total = 0.0
        for name in a.keys() | b.keys():
            parameter = self.space.parameters[name]
            if name in a and name in b and parameter.choices is None:
                total += abs(a[name] - b[name]) / ((parameter.high or 0) - (parameter.low or 0))
            else:
                total += a.get(name) != b.get(name)
        return total


def settle(study: LinkedStudy, trial_id: int) -> None:
    """Give a claimed proxy trial its parameters, unless it has them: a baseline, a grid's point, a retry.

    Under a lock of the study, so that whoever draws sees what all others were given. They are stored at once, in
    the way that Optuna's own queue hands parameters to `suggest`: a worker that dies leaves all of them or none.
    """
    plan, storage = study.plan, study.database.storage
    given = given_to(storage.get_trial(trial_id))
    if plan.space.names({**plan.fixed(), **given}) == given.keys():
        return
    with study.database.lock(f"lilm-search/draw/{plan.name}"):
        drawn = plan_sampler(study).draw(study.proxy_queue.identified(), storage.get_trial(trial_id).number, given)
        storage.set_trial_user_attr(trial_id, SAMPLER, {"kind": drawn.kind, "seed": drawn.seed})
        storage.set_trial_system_attr(trial_id, "fixed_params", drawn.params)


def plan_sampler(study: LinkedStudy) -> Sampler:
    """Return the sampler that a study's plan asks for."""
    proxy = study.plan.proxy
    return Sampler(
        space=study.plan.space, fixed=study.plan.fixed(), kind=proxy.sampler, seed=proxy.seed, startup=proxy.startup
    )
