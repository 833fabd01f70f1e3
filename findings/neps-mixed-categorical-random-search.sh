#!/usr/bin/env bash
# NePS's default optimizer becomes random search, without a warning, where a categorical holds both 0 and 0.1.
#
# With no optimizer named, neps.run takes a Gaussian process for a space of plain numbers and categories. It first turns
# the space into its older form, which it gives up, silently, if one categorical's values aren't all int, all float or
# all str: (0, 0.1, 0.2), the natural way to write dropout rates, is such a one. What is left is the optimizer for
# architectures written as grammars, "complex_random_search", whose draws don't depend on any result. (0.0, 0.1, 0.2)
# keeps the model. A line of information names the optimizer taken, as does optimizer_info.yaml; no warning says that
# it is another one, or why.
#
# Expected with neural-pipeline-search 0.17.0 (the dropout's values: optimizer of neps.run without one named; warnings):
#   (0.0, 0.1, 0.2): bayesian_optimization; 0
#   (0, 0.1, 0.2): complex_random_search; 0
#   (0, 1, 2): bayesian_optimization; 0
# Exits with 1 where anything else is seen.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 neural-pipeline-search==0.17.0 \
    gpytorch==1.13.0 botorch==0.12.0 linear_operator==0.5.3
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import logging
import sys

import neps
import yaml

VALUES = ((0.0, 0.1, 0.2), (0, 0.1, 0.2), (0, 1, 2))
EXPECTED = ["bayesian_optimization", "complex_random_search", "bayesian_optimization"]


class Warnings(logging.Handler):
    """Keeps what is logged as a warning, or worse."""

    lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def evaluate(rate: float, dropout: float) -> float:
    return (rate - 0.01) ** 2 + dropout


logger = logging.getLogger("neps")
logger.addHandler(Warnings(logging.WARNING))
logger.propagate = False
print(f"python {sys.version.split()[0]}, neural-pipeline-search {importlib.metadata.version('neural-pipeline-search')}")
seen, warned = [], 0
for number, values in enumerate(VALUES):

    class Space(neps.PipelineSpace):
        """A rate and a dropout."""

        rate = neps.Float(1e-4, 1e-1, log=True)
        dropout = neps.Categorical(values)

    Warnings.lines.clear()
    neps.run(evaluate, pipeline_space=Space(), root_directory=f"run-{number}", total_evaluations_to_spend=2)
    with open(f"run-{number}/optimizer_info.yaml") as file:
        name = yaml.safe_load(file)["name"]
    print(f"{values}: {name}; {len(Warnings.lines)}")
    seen.append(name)
    warned += len(Warnings.lines)
sys.exit(seen != EXPECTED or warned != 0)
PYTHON
