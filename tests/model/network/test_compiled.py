"""Every idea is compiled without a break, whole and block by block, and anew for no batch of the same shape."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.model.network.compiled import FLOAT8
from tests.model.network.menu import COSTLY
from tests.places import ROOT

Compile = Callable[[str], dict[str, float]]


@pytest.fixture(scope="module")
def compile_idea(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compile]:
    """Asks one program for all ideas, one after the other: its start takes as long as three of them."""
    errors: Path = tmp_path_factory.mktemp("compiled") / "errors"
    command = [sys.executable, "-m", "tests.model.network.compiled"]
    pipe = subprocess.PIPE
    with (
        errors.open("w") as stderr,
        subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=stderr, text=True) as program,
    ):
        assert program.stdin is not None
        assert program.stdout is not None
        asked, answers = program.stdin, program.stdout

        def ask(name: str) -> dict[str, float]:
            asked.write(name + "\n")
            asked.flush()
            line = answers.readline()
            assert line, errors.read_text()[-3000:]
            found: dict[str, float] = json.loads(line)
            assert "error" not in found, found["error"]
            return found

        yield ask
        program.kill()  # it may be in the middle of an idea whose test ran out of time


@pytest.mark.parametrize("name", [*COSTLY, FLOAT8])
def test_a_pass_is_one_graph_with_the_eager_gradients_and_blocks_of_a_kind_are_one(
    name: str, compile_idea: Compile
) -> None:
    compiled = compile_idea(name)
    assert compiled["whole"] == 1
    assert compiled["apart"] < 1e-5
    assert 1 <= compiled["blocks"] <= compiled["kinds"]
