"""How long one decision of our pruner takes, beside Optuna's, by the number of trials that a study has.

python -m tests.benchmarks.pruner --rounds 50
"""

import argparse
import datetime
import time
from collections.abc import Sequence

import numpy as np
import optuna
from optuna.pruners import BasePruner, MedianPruner, SuccessiveHalvingPruner
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.strategy.pruner import CorrelationPruner

REPORTS, FINISHED, RUNNING = 20, 0.25, 0.02
"""Reports of a full run; shares of trials that finish and that run. The others were pruned, at any report."""
PRUNERS: dict[str, BasePruner] = {
    "by worth (ours)": CorrelationPruner(controls=0.0),
    "by risk (ours)": CorrelationPruner(rule="risk", controls=0.0),
    "median": MedianPruner(),
    "successive halving": SuccessiveHalvingPruner(),
}


def made_study(trials: int, seed: int = 0) -> optuna.Study:
    """Return a study in memory, a quarter of whose trials finished."""
    rng = np.random.default_rng(seed)
    study = optuna.create_study(study_name="benchmark")
    for state in rng.choice(["COMPLETE", "RUNNING", "PRUNED"], trials, p=[FINISHED, RUNNING, 1 - FINISHED - RUNNING]):
        final = float(rng.uniform(1, 2))
        last = REPORTS if state == "COMPLETE" else int(rng.integers(1, REPORTS))
        losses = final + 1 - np.arange(1, last + 1) / REPORTS + 0.1 * rng.standard_normal(last)
        reports = {i + 1: float(loss) for i, loss in enumerate(losses)}
        made = create_trial(
            state=TrialState[state], value=final if state == "COMPLETE" else None, intermediate_values=reports
        )
        study.add_trial(made)
    return study


def measure(study: optuna.Study, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return wall and CPU milliseconds of each pruner's decisions on new trials; the pruners take turns."""
    rng = np.random.default_rng(1)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in PRUNERS}
    for _ in range(rounds):
        trial = _half_way(study, float(rng.uniform(1, 2)))
        for name, pruner in PRUNERS.items():
            wall, cpu = time.perf_counter(), time.process_time()
            pruner.prune(study, trial)
            found[name].append((1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)))
    return found


def _half_way(study: optuna.Study, loss: float) -> FrozenTrial:
    """Start a trial of the study and let it report until half of its run."""
    trial = study.ask()
    for step in range(1, REPORTS // 2 + 1):
        trial.report(loss + 1 - step / REPORTS, step)
    return study._storage.get_trial(trial._trial_id)


def table(found: dict[int, dict[str, list[tuple[float, float]]]]) -> str:
    """Return the figures as Markdown."""
    lines = ["| trials | pruner | median, ms | p95, ms | CPU, ms |", "|---:|---|---:|---:|---:|"]
    for trials, pruners in found.items():
        for name, times in pruners.items():
            wall, cpu = np.array(times).T
            figures = (np.median(wall), np.quantile(wall, 0.95), cpu.mean())
            lines.append(f"| {trials:,} | {name} | " + " | ".join(f"{ms:.2f}" for ms in figures) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pruner", description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 500, 2000])
    parser.add_argument("--rounds", type=int, default=50, help="decisions of each pruner")
    options = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(
        f"Optuna {optuna.__version__}, {datetime.date.today()}, {REPORTS} reports a run, {options.rounds} decisions\n"
    )
    print(table({n: measure(made_study(n), options.rounds) for n in options.trials}))


if __name__ == "__main__":
    main()
