#!/usr/bin/env bash
# Optuna's HyperbandPruner makes one bracket fewer than its own formula at some exact powers of the reduction factor.
#
# The number of brackets is floor(log_eta(max_resource / min_resource)) + 1. Optuna takes math.log(x, eta), a quotient of
# two rounded logarithms: log(243, 3) is 4.999999999999999, so that 3^5 makes 5 brackets instead of 6, and one step more
# (244) makes 6. The bracket that is missing is the one whose first rung is the whole run, which never prunes; at
# max_resource = 1000 with a factor of 10, both of them common values, a quarter of the brackets is gone.
#
# Expected with optuna 5.0.0 (maximum, factor: brackets made / asked for by the formula):
#   81, 3: 5 / 5
#   242, 3: 5 / 5
#   243, 3: 5 / 6
#   244, 3: 6 / 6
#   59049, 3: 10 / 11
#   999, 10: 3 / 3
#   1000, 10: 3 / 4
#   1001, 10: 4 / 4
#   1000000, 10: 6 / 7
# Exits with 1 where anything else is seen.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check optuna==5.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import optuna
from optuna.pruners import HyperbandPruner

optuna.logging.set_verbosity(optuna.logging.WARNING)


def made(most: int, factor: int) -> int:
    """Count the brackets that the pruner spreads trials over, once it has been asked about one."""
    pruner = HyperbandPruner(min_resource=1, max_resource=most, reduction_factor=factor)
    trial = optuna.create_study(pruner=pruner).ask()
    trial.report(1.0, step=0)
    trial.should_prune()
    return len(pruner._pruners)


def formula(most: int, factor: int) -> int:
    """Return floor(log_factor(most)) + 1 in whole numbers."""
    count, power = 1, factor
    while power <= most:
        count, power = count + 1, power * factor
    return count


EXPECTED = {
    (81, 3): (5, 5), (242, 3): (5, 5), (243, 3): (5, 6), (244, 3): (6, 6), (59049, 3): (10, 11),
    (999, 10): (3, 3), (1000, 10): (3, 4), (1001, 10): (4, 4), (1_000_000, 10): (6, 7),
}  # fmt: skip
print(f"python {sys.version.split()[0]}, optuna {optuna.__version__}")
seen = {key: (made(*key), formula(*key)) for key in EXPECTED}
for (most, factor), (brackets, asked) in seen.items():
    print(f"{most}, {factor}: {brackets} / {asked}")
sys.exit(seen != EXPECTED)
PYTHON
