"""Two checkouts by turns: who is asked when, and a process that really answers."""

import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from tests.benchmarks.builds import Build, turns


class Asked:
    """A build that notes when it is asked."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def ask(self, number: int) -> str:
        self.log.append(self.name)
        return f"{self.name} {number}"


def test_each_round_asks_both_the_last_one_first_in_the_next() -> None:
    log: list[str] = []
    answers: list[Any] = turns(cast(Any, [Asked("base", log), Asked("ours", log)]), 5, 3)
    assert log == ["base", "ours", "ours", "base", "base", "ours"]
    assert answers == [["base 5", "ours 5"]] * 3


def test_a_builds_process_runs_its_own_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its `model` is the checkout's, not ours, and its answers come back one for one."""
    other = tmp_path / "other"
    (other / "model").mkdir(parents=True)
    (other / "model" / "__init__.py").write_text("answer = 42\n")
    program = "import sys, json, model\nfor line in sys.stdin: print(json.dumps([model.answer, int(line)]), flush=True)"
    start = subprocess.Popen

    def popen(command: list[str], **options: Any) -> Any:
        assert command[1:4] == ["-P", "-m", "tests.benchmarks.builds"]
        return start([sys.executable, "-P", "-c", program], **options)

    monkeypatch.setattr(subprocess, "Popen", popen)
    build = Build(other, tmp_path, "steps:x")
    try:
        assert [build.ask(n) for n in (1, 2)] == [[42, 1], [42, 2]]
    finally:
        build.close()


def test_a_process_that_dies_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    (tmp_path / "other" / "model").mkdir(parents=True)
    build = Build(tmp_path / "other", tmp_path, "steps:x")
    with pytest.raises(RuntimeError, match="a build's process ended with 1"):
        build.ask(1)
    build.close()
