"""Every idea is compiled without a break, whole and block by block, and anew for no batch of the same shape."""

import functools
import json
import subprocess
import sys

import pytest

from tests.model.network.compiled import FLOAT8
from tests.model.network.menu import COSTLY
from tests.places import ROOT

NAMES, TOGETHER = [*COSTLY, FLOAT8], 4
"""Ideas that one process compiles: more would take too long beside other work, fewer import torch too often."""


@functools.cache
def outcomes(first: int) -> dict[str, dict[str, float]]:
    command = [sys.executable, "-m", "tests.model.network.compiled", *NAMES[first : first + TOGETHER]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("name", NAMES)
def test_a_pass_is_one_graph_with_the_eager_gradients_and_blocks_of_a_kind_are_one(name: str) -> None:
    compiled = outcomes(NAMES.index(name) // TOGETHER * TOGETHER)[name]
    assert compiled["whole"] == 1
    assert compiled["apart"] < 1e-5
    assert 1 <= compiled["blocks"] <= compiled["kinds"]
