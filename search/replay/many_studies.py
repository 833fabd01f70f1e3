"""Many replayed studies, spread over processes, and what they say together."""

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
from search.replay.one_study import Score, Setting, replay, settings
from search.replay.pruners import PrunerSpec, roster

FIGURES = tuple(f.name for f in fields(Score))


@dataclass(frozen=True, kw_only=True)
class Part:
    """One pruner on one set in one setting, to be replayed with many seeds."""

    curves: CurveSet
    setting: Setting
    name: str
    """The pruner's, for people."""
    pruner: PrunerSpec


def parts_of(
    sets: Sequence[CurveSet],
    trials: int,
    budget: float | None,
    given: Mapping[str, PrunerSpec],
    only: Sequence[str],
) -> list[Part]:
    """Return every pruner on every set in both settings; the default pruners, unless `only` names some."""
    return [
        Part(curves=curves, setting=setting, name=name, pruner=spec)
        for curves in sets
        for setting in settings(curves, trials, budget)
        for name, spec in roster(curves.last_step, given, only).items()
    ]


@dataclass(frozen=True)
class Estimate:
    """A mean over studies with its 95% interval, which is None where one study says nothing of the others."""

    mean: float
    low: float | None = None
    high: float | None = None


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean with Student's t interval; none of a study's figures is ever negative."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Estimate(mean)
    half = student_quantile(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Estimate(mean, max(0.0, mean - half), mean + half)


def estimate_chance(values: Sequence[bool]) -> Estimate:
    """Return the share of true values with Wilson's interval, which says something of 0 of 50 too."""
    from scipy import stats

    found = stats.binomtest(int(sum(values)), len(values))
    interval = found.proportion_ci(0.95, "wilson")
    return Estimate(float(found.statistic), float(interval.low), float(interval.high))


def summarise(scores: Sequence[Score]) -> Mapping[str, Estimate]:
    """Return each figure of the studies' scores with its interval."""
    columns = {name: [getattr(score, name) for score in scores] for name in FIGURES}
    return {n: estimate_chance(v) if n == "best_pruned" else estimate(v) for n, v in columns.items()}


def replay_all(
    parts: Sequence[Part], seeds: Sequence[int], jobs: int, on_study: Callable[[], None]
) -> list[Mapping[str, Estimate]]:
    """Return the figures of each part, in order; `on_study` is called after each replayed study.

    Raises `SearchError` where a pruner fails. The figures don't depend on the number of jobs.
    """
    scores: dict[tuple[int, int], Score] = {}
    for key, score in _in_process(parts, seeds) if jobs == 1 else _in_processes(parts, seeds, jobs):
        scores[key] = score
        on_study()
    return [summarise([scores[index, seed] for seed in seeds]) for index in range(len(parts))]


def _in_process(parts: Sequence[Part], seeds: Sequence[int]) -> Iterator[tuple[tuple[int, int], Score]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for seed in seeds:
            for index, part in enumerate(parts):
                yield (index, seed), _replay(part, seed)


def _in_processes(parts: Sequence[Part], seeds: Sequence[int], jobs: int) -> Iterator[tuple[tuple[int, int], Score]]:
    # Spawned, not forked: the progress bar and numpy have threads, which a forked child would lose locked.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_start_child, initargs=(tuple(parts),)) as pool:
        waiting = {pool.submit(_replay_in_child, i, s): (i, s) for s in seeds for i in range(len(parts))}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BrokenProcessPool:
            raise SearchError("a replaying process was killed, most likely for its memory; try fewer --jobs") from None
        finally:
            pool.shutdown(cancel_futures=True)


_parts: tuple[Part, ...] = ()


def _start_child(parts: tuple[Part, ...]) -> None:
    """Keep the parts once for each process; Ctrl-C is the parent's to answer."""
    global _parts
    _parts = parts
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")


def _replay_in_child(index: int, seed: int) -> Score:
    return _replay(_parts[index], seed)


def _replay(part: Part, seed: int) -> Score:
    try:
        return replay(part.curves, part.pruner.make(), part.setting, seed)
    except Exception as error:  # a user's pruner may raise anything
        said: Any = str(error).strip().splitlines() or [""]
        raise SearchError(
            f'pruner "{part.name}" failed on {part.curves.name}: {type(error).__name__}: {said[0]}'
        ) from None
