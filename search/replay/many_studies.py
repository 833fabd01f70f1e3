"""Many replayed studies, spread over processes, and the means of their figures."""

import math
import multiprocessing
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import optuna

from search.common.errors import SearchError
from search.common.student import student_quantile
from search.replay.curves import CurveSet
from search.replay.one_study import Score, StudyLimit, replay, study_limits
from search.replay.pruners import PrunerSpec, select_pruners

FIGURES = tuple(f.name for f in fields(Score))
"""Names of a study's figures."""


@dataclass(frozen=True, kw_only=True)
class ReplayTask:
    """One pruner on one set of curves under one limit, to be replayed with many seeds."""

    curves: CurveSet
    limit: StudyLimit
    name: str
    """The pruner's name for people."""
    pruner: PrunerSpec


def replay_tasks(
    sets: Sequence[CurveSet],
    trials: int,
    budget: float | None,
    given: Mapping[str, PrunerSpec],
    only: Sequence[str],
) -> list[ReplayTask]:
    """Return a task for each pruner, set and limit; for the default and given pruners, unless `only` names some."""
    return [task for c in sets for limit in study_limits(c, trials, budget) for task in tasks_of(c, limit, given, only)]


def tasks_of(
    curves: CurveSet, limit: StudyLimit, given: Mapping[str, PrunerSpec], only: Sequence[str]
) -> list[ReplayTask]:
    """Return a task for each pruner on one set under one limit."""
    pruners = select_pruners(curves.last_step, given, only)
    return [ReplayTask(curves=curves, limit=limit, name=name, pruner=spec) for name, spec in pruners.items()]


@dataclass(frozen=True)
class Estimate:
    """A mean over studies with its 95% interval, which is None if there is only one study."""

    mean: float
    low: float | None = None
    high: float | None = None


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean with Student's t interval, cut at 0: no figure of a study is negative."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Estimate(mean)
    half = student_quantile(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Estimate(mean, max(0.0, mean - half), mean + half)


def estimate_chance(values: Sequence[bool]) -> Estimate:
    """Return the share of true values with Wilson's interval, which has a width for 0 of 50, too."""
    from scipy import stats

    test = stats.binomtest(int(sum(values)), len(values))
    interval = test.proportion_ci(0.95, "wilson")
    return Estimate(float(test.statistic), float(interval.low), float(interval.high))


def summarise(scores: Sequence[Score]) -> Mapping[str, Estimate]:
    """Return each figure of the studies' scores with its interval."""
    columns = {name: [getattr(score, name) for score in scores] for name in FIGURES}
    return {n: estimate_chance(v) if n == "best_pruned" else estimate(v) for n, v in columns.items()}


def replay_all(
    tasks: Sequence[ReplayTask], seeds: Sequence[int], jobs: int, on_study: Callable[[], None]
) -> list[Mapping[str, Estimate]]:
    """Return the figures of each task, in order; `on_study` is called after each replayed study.

    Raises `SearchError` if a pruner fails. The figures don't depend on the number of jobs.
    """
    scores: dict[tuple[int, int], Score] = {}
    for key, score in _in_process(tasks, seeds) if jobs == 1 else _in_processes(tasks, seeds, jobs):
        scores[key] = score
        on_study()
    return [summarise([scores[index, seed] for seed in seeds]) for index in range(len(tasks))]


def _in_process(tasks: Sequence[ReplayTask], seeds: Sequence[int]) -> Iterator[tuple[tuple[int, int], Score]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for seed in seeds:
            for index, task in enumerate(tasks):
                yield (index, seed), _replay(task, seed)


def _in_processes(
    tasks: Sequence[ReplayTask], seeds: Sequence[int], jobs: int
) -> Iterator[tuple[tuple[int, int], Score]]:
    # Spawned, not forked: the progress bar and numpy have threads, whose locks a forked child might inherit locked.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_start_child, initargs=(tuple(tasks),)) as pool:
        waiting = {pool.submit(_replay_in_child, i, s): (i, s) for s in seeds for i in range(len(tasks))}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BrokenProcessPool:
            raise SearchError("a replaying process was killed, most likely for its memory; try fewer --jobs") from None
        finally:
            pool.shutdown(cancel_futures=True)


_tasks: tuple[ReplayTask, ...] = ()


def _start_child(tasks: tuple[ReplayTask, ...]) -> None:
    """Store the tasks once for each process; Ctrl-C is handled by the parent process."""
    global _tasks
    _tasks = tasks
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")


def _replay_in_child(index: int, seed: int) -> Score:
    return _replay(_tasks[index], seed)


def _replay(task: ReplayTask, seed: int) -> Score:
    try:
        return replay(task.curves, task.pruner.make(), task.limit, seed)
    except Exception as error:  # a user's pruner may raise anything
        lines: Any = str(error).strip().splitlines() or [""]
        raise SearchError(
            f'pruner "{task.name}" failed on {task.curves.name}: {type(error).__name__}: {lines[0]}'
        ) from None
