"""What one worker's calls take, by how many others run: processor time, and how long the lock of a claim is held.

The others are rows in the database, as workers would leave them: 512 real ones would need as many processors.
"""

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import optuna
import sqlalchemy as sa
from optuna.trial import TrialState, create_trial

from search.strategy.sampler import ensure_parameters
from search.strategy.study_pruner import make_pruner
from search.study.study import LinkedStudy, load_study
from storage.queue.trial_queue import Claim, TrialQueue
from storage.server.database import Database, connect
from tests.benchmarks.load_clients import NAME
from tests.benchmarks.load_study import Options, finished_trials, prepare_study
from tests.chaos.server import server

ROUNDS = 5


def main() -> None:
    """Measure at each number of running trials, one study growing."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.load_trend", description=__doc__)
    parser.add_argument("--running", type=int, nargs="+", default=[16, 64, 128, 256, 512], help="rising")
    parser.add_argument("--finished", type=int, default=2000)
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print("| running | ask, ms | lock of a claim held, ms | report, ms | the same by Optuna's own reading, ms |")
    print("|---:|---:|---:|---:|---:|")
    with server(max_connections="1000") as postgres:
        postgres.start()
        options = Options(workers=[1], trial_seconds=60.0, window_seconds=1.0, finished=asked.finished)
        database = connect(prepare_study(postgres, options, "ours", "trend"))
        study = load_study(database, NAME)
        for running in asked.running:
            add_running(study, running)
            print(f"| {running} | " + " | ".join(f"{1000 * x:.0f}" for x in calls(database, study)) + " |", flush=True)
        database.close()


def add_running(study: LinkedStudy, running: int) -> None:
    """Have so many trials run, each half-way through."""
    there = sum(t.state == TrialState.RUNNING for t in study.proxy_trials())
    ended = [
        t for t in finished_trials(study.plan, 2 * (running - there) + 20, ours=True) if len(t.intermediate_values) > 10
    ]
    for trial in ended[: running - there]:
        values = {step: v for step, v in trial.intermediate_values.items() if step <= 50}
        study.proxies.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=trial.params,
                distributions=trial.distributions,
                intermediate_values=values,
                user_attrs={"worker": "another", "control": False},
            )
        )


def calls(database: Database, study: LinkedStudy) -> Sequence[float]:
    """Return the processor seconds of an ask, the seconds of its lock, and the processor seconds of a report, twice."""
    queue = TrialQueue(database, NAME, grace_seconds=1e6)
    pruner, trials = make_pruner(study), study.proxy_trials()
    claims: list[Claim] = []

    def ask() -> None:
        claim = queue.claim("one", 10**6)
        assert isinstance(claim, Claim)
        ensure_parameters(study, claim.trial_id)
        claims.append(claim)

    with timed_locks(database) as held:
        asking = processor_seconds(ask)
    mine = next(t for t in trials if t.state == TrialState.RUNNING)

    def report(own: bool) -> None:
        database.storage.set_trial_intermediate_value(mine._trial_id, 50, 2.0)
        pruner.judge(study.proxies, mine, queue.trial_view.with_reports if own else None)

    reporting = processor_seconds(lambda: report(True)), processor_seconds(lambda: report(False))
    for claim in claims:
        queue.fail(claim.trial_id, "diverged")
    return asking, float(np.median(held)), *reporting


def processor_seconds(call: Callable[[], object]) -> float:
    """Return the median over a few calls, after one that warms up."""
    call()
    found = []
    for _ in range(ROUNDS):
        before = time.process_time()
        call()
        found.append(time.process_time() - before)
    return float(np.median(found))


@contextlib.contextmanager
def timed_locks(database: Database) -> Iterator[list[float]]:
    """Note how long transactions with the queue's lock last."""
    held: list[float] = []
    real = database.atomic

    @contextlib.contextmanager
    def atomic(name: str) -> Iterator[sa.Connection]:
        with real(name) as connection:
            before = time.monotonic()
            yield connection
            held.append(time.monotonic() - before)

    database.atomic = atomic  # type: ignore[method-assign]
    yield held
    del database.atomic


if __name__ == "__main__":
    main()
