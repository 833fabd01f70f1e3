"""Which sampler finds better configurations sooner: ours beside Optuna's settings, with 1 and 16 workers at once.

python -m tests.benchmarks.samplers --seeds 20 --processes 2
"""

import argparse
import datetime
import heapq
import itertools
import json
import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import optuna
import torch
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.stats import t as student

from search.strategy import sampler as ours
from search.strategy import sampler_history
from search.strategy.sampler import Sampler, sampler_of
from tests.benchmarks.problems import CURVES, SETS, Problem, closed_forms, surrogate

CHECKS = (25, 50, 100)
TRIALS, STARTUP = CHECKS[-1], 10


def _tpe(multivariate: bool, constant_liar: bool, group: bool = False) -> Callable[[int], BaseSampler]:
    return lambda seed: TPESampler(
        seed=seed, n_startup_trials=1, multivariate=multivariate, constant_liar=constant_liar, group=group
    )


VARIANTS: dict[str, tuple[str, str]] = {
    "random": ("random", "random"),
    "qmc": ("qmc", "qmc"),
    "tpe, plain": ("tpe-plain", "random"),
    "tpe, constant liar": ("tpe-liar", "random"),
    "tpe, multivariate": ("tpe-multivariate", "random"),
    "tpe, both": ("tpe-both", "random"),
    "tpe, both, grouped": ("tpe-group", "random"),
    "tpe, constant liar, qmc start": ("tpe-liar", "qmc"),
    "tpe, both, qmc start": ("tpe-both", "qmc"),
    "gp, qmc start": ("gp", "qmc"),
    "gp, told disasters": ("gp", "qmc"),
    "joint": ("joint", "qmc"),
}
"""Each with its kind and with what draws until it learns; "tpe, plain" is TPE as Optuna has it by default."""
OWN: dict[str, dict[str, Any]] = {
    "as in the study file": {},
    "as in the study file, startup 10": {"startup": STARTUP},
    "as in the study file, joint": {"kind": "joint"},
}
"""Samplers of the problem's own study, after its baselines, each with what is changed of it."""
TOLD_DISASTERS = "gp, told disasters"
"""Variant that is told every loss as it came out, however far behind."""

SETTINGS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe-plain": _tpe(multivariate=False, constant_liar=False),
    "tpe-liar": _tpe(multivariate=False, constant_liar=True),
    "tpe-multivariate": _tpe(multivariate=True, constant_liar=False),
    "tpe-both": _tpe(multivariate=True, constant_liar=True),
    "tpe-group": _tpe(multivariate=True, constant_liar=True, group=True),
}


Job = tuple[str, str, int, int, int]
"""Problem, variant, workers, seed, trials."""


@dataclass(frozen=True)
class Run:
    """One simulated study: the regret after each of `CHECKS` finished trials, seconds per draw at the end."""

    problem: str
    variant: str
    workers: int
    seed: int
    regrets: tuple[float, ...]
    ask_seconds: float


def problem(name: str) -> Problem:
    """Return a problem by its name."""
    known = {p.name: p for p in closed_forms()}
    return known[name] if name in known else surrogate(name)


def simulate(problem: Problem, variant: str, workers: int, seed: int, most: int = TRIALS) -> Run:
    """Run one study with so many trials at any time, each taking a random while; what is picked is the best seen."""
    sampler, first = _sampler(problem, variant, seed)
    rng = np.random.default_rng([seed, 1])  # of the noise and the durations: alike for all samplers
    noise, durations = rng.normal(0, problem.noise, TRIALS), rng.lognormal(0, 0.3, TRIALS)
    trials: list[FrozenTrial] = []
    running: list[tuple[float, int]] = []
    best, picked, regrets, asked = np.inf, None, [], []
    now, ended = 0.0, 0
    checks = [c for c in CHECKS if c <= most]
    while ended < checks[-1]:
        while len(running) < workers and len(trials) < checks[-1]:
            started = time.process_time()
            given = first[len(trials)] if len(trials) < len(first) else None
            params = given or sampler.draw(trials, len(trials), {}).params
            asked.append(time.process_time() - started)
            trials.append(_trial(problem, params, len(trials), TrialState.RUNNING))
            heapq.heappush(running, (now + durations[len(trials) - 1], len(trials) - 1))
        now, number = heapq.heappop(running)
        params, found = trials[number].params, problem.loss(trials[number].params)
        if isinstance(found, str):
            trials[number] = _trial(problem, params, number, TrialState.FAIL, failure=found)
        else:
            seen = float(found + noise[number])
            trials[number] = _trial(problem, params, number, TrialState.COMPLETE, seen)
            if seen < best:
                best, picked = seen, params
        ended += 1
        if ended in checks:
            regrets.append(problem.regret(picked))
    return Run(problem.name, variant, workers, seed, tuple(regrets), float(np.mean(asked[-10:])))


def _sampler(problem: Problem, variant: str, seed: int) -> tuple[Sampler, list[dict[str, Any]]]:
    """Return a variant's sampler, and the configurations that are run before any is drawn."""
    if variant not in OWN:
        kind, start = VARIANTS[variant]
        own = Sampler(space=problem.space, fixed=problem.fixed, kind=kind, seed=seed, startup=STARTUP, start=start)
        return own, []
    assert problem.plan is not None, f"{problem.name} is no study's space"
    baselines = [{k: v for k, v in b.items() if k in problem.space.parameters} for b in problem.plan.baselines.values()]
    return replace(sampler_of(problem.plan), seed=seed, **OWN[variant]), baselines


def _trial(
    problem: Problem, params: dict[str, Any], number: int, state: TrialState, value: float | None = None, **attrs: str
) -> FrozenTrial:
    distributions = {k: problem.space.parameters[k].distribution() for k in params}
    trial = create_trial(state=state, value=value, params=params, distributions=distributions, user_attrs=attrs)
    trial.number = number
    return trial


_known: dict[str, Problem] = {}


def _job(job: Job) -> Run:
    name, variant, workers, seed, most = job
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    torch.set_num_threads(1)
    ours.LEARNING_SAMPLERS.update(SETTINGS)
    if name not in _known:
        _known[name] = problem(name)
    if variant == TOLD_DISASTERS:
        with patch.object(sampler_history, "without_disasters", lambda losses: losses):
            return simulate(_known[name], variant, workers, seed, most)
    return simulate(_known[name], variant, workers, seed, most)


def measure(jobs: list[Job], processes: int) -> Iterator[Run]:
    """Simulate the studies, so many at a time."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(_job, jobs)


def table(runs: list[Run]) -> str:
    """Return mean regrets with 95% intervals as Markdown, problem by problem, and over all that a sampler has."""
    lines = [
        "| problem | workers | sampler | after 25 | after 50 | after 100 | CPU ms a draw |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    names = sorted({r.problem for r in runs}, key=[r.problem for r in runs].index)
    for name, workers, variant in itertools.product([*names, "all"], (1, 16), [*VARIANTS, *OWN]):
        some = [r for r in runs if name in (r.problem, "all") and (r.workers, r.variant) == (workers, variant)]
        if not some or (name == "all" and {r.problem for r in some} != set(names)):
            continue
        columns = ([r.regrets[i] for r in some if i < len(r.regrets)] for i in range(len(CHECKS)))
        cells = " | ".join("{:.3f} ± {:.3f}".format(*interval(c)) if c else "" for c in columns)
        milliseconds = 1000 * float(np.mean([r.ask_seconds for r in some]))
        lines.append(f"| {name} | {workers} | {variant} | {cells} | {milliseconds:.0f} |")
    return "\n".join(lines)


def interval(values: list[float]) -> tuple[float, float]:
    """Return a mean and half its 95% interval."""
    n = len(values)
    half = student.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return float(np.mean(values)), float(half)


def main() -> None:
    """Measure what was asked for, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.samplers", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=TRIALS, choices=CHECKS, help="of each study")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 16], help="trials at once")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--samplers", nargs="*", default=list(VARIANTS), choices=[*VARIANTS, *OWN], metavar="NAME")
    parser.add_argument("--problems", nargs="*", metavar="NAME")
    parser.add_argument("--out", type=Path, help="keep each study's figures there; what is there isn't run again")
    options = parser.parse_args()
    there = [s for s in SETS if (CURVES / f"{s}.csv.gz").exists()]
    if len(there) < len(SETS):
        print(f"no learning curves in {CURVES}: their surrogates are left out")
    problems = options.problems or [*(p.name for p in closed_forms()), *there]
    order = itertools.product(problems, range(options.seeds), options.workers, options.samplers)
    runs = _kept(options.out)
    done = {(r.problem, r.variant, r.workers, r.seed) for r in runs}
    jobs = [(p, v, w, s, options.trials) for p, s, w, v in order if (p, v, w, s) not in done]
    for run in measure(jobs, options.processes):
        runs.append(run)
        if options.out:
            with options.out.open("a") as file:
                file.write(json.dumps(run.__dict__) + "\n")
    print(f"{datetime.date.today()}, Optuna {optuna.__version__}, {options.seeds} seeds\n\n{table(runs)}")


def _kept(path: Path | None) -> list[Run]:
    lines = path.read_text().splitlines() if path and path.exists() else []
    return [Run(**{**json.loads(line), "regrets": tuple(json.loads(line)["regrets"])}) for line in lines]


if __name__ == "__main__":
    main()
