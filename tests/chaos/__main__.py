"""Run chaos and say what was done, and what was found; exits with 1 where a check fails."""

import argparse
import random
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import optuna

from tests.chaos.checks import check
from tests.chaos.events import Sizes
from tests.chaos.run import Chaos, Options
from tests.chaos.server import server
from tests.chaos.study import BUDGET_SECONDS, plan


def main() -> int:
    """Run it once; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of what is done, to whom")
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--kills", type=int, help="default: 15%% of the trials")
    parser.add_argument("--stops", type=int, help="default: 2.5%% of the trials")
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--cuts", type=int, default=2)
    parser.add_argument("--trial-seconds", type=float, default=6.0, help="real seconds of a trial")
    parser.add_argument("--grace", type=float, default=6.0, help="real seconds of silence before a trial is taken")
    parser.add_argument("--most-minutes", type=float, default=15.0, help="after which the study counts as stuck")
    options = parser.parse_args()
    sizes = Sizes(
        workers=options.workers,
        trials=options.trials,
        kills=round(0.15 * options.trials) if options.kills is None else options.kills,
        stops=round(0.025 * options.trials) if options.stops is None else options.stops,
        restarts=options.restarts,
        cuts=options.cuts,
    )
    print(f"chaos with seed {options.seed}: make chaos SEED={options.seed}", flush=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    home = Path(tempfile.mkdtemp(prefix="lilm-chaos-home-"))
    with server() as postgres:
        chaos = Chaos(
            postgres,
            plan(trials=sizes.trials, grace_seconds=options.grace),
            home,
            Options(
                sizes=sizes,
                seed=options.seed,
                scale=options.trial_seconds / BUDGET_SECONDS,
                most_seconds=60 * options.most_minutes,
                say=lambda line: print(line, flush=True),
            ),
        )
        outcome = chaos.run()
        found = check(chaos.url, sizes, outcome)
    print(f"\n{found.table()}")
    if found.failed:
        print(f"\nEach worker's log is in its machine's folder in {home}.")
        return 1
    shutil.rmtree(home, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
