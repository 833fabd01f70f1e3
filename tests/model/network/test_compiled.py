"""Every idea is compiled without a break, whole and block by block, and anew for no batch of the same shape."""

import json
import subprocess
import sys

import pytest

from tests.model.network.menu import COSTLY
from tests.places import ROOT


@pytest.fixture(scope="module")
def compiled() -> dict[str, dict[str, float]]:
    command = [sys.executable, "-m", "tests.model.network.compiled"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("name", COSTLY)
def test_a_pass_is_one_graph_with_the_eager_gradients(compiled: dict[str, dict[str, float]], name: str) -> None:
    assert compiled[name]["whole"] == 1
    assert compiled[name]["apart"] < 1e-5


@pytest.mark.parametrize("name", COSTLY)
def test_blocks_of_a_kind_are_one_graph(compiled: dict[str, dict[str, float]], name: str) -> None:
    assert 1 <= compiled[name]["blocks"] <= compiled[name]["kinds"]
