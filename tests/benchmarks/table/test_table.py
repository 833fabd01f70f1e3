"""The making of a table in small: half a counted second of training; cut off and gone on with."""

import concurrent.futures
import re
from pathlib import Path

import pytest

from search.study.space import Params
from tests.benchmarks.proxies import Job, Kept, Setup, step_seconds
from tests.benchmarks.search.made_up import BASELINE
from tests.benchmarks.table import __main__ as making
from tests.benchmarks.table import order, training
from tests.benchmarks.table.rows import read

SMALL = Setup(
    study="tests/benchmarks/table/space.toml",
    text="builtin",
    long_seconds=0.5,
    device="cpu",
    flops_rate=1.5e11,
    launch_seconds=2e-2,
    draw=0,
)


@pytest.fixture
def small(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """A study of two small networks on the built-in text."""
    text = Path(SMALL.study).read_text()
    for setting, value in (("vocab_size", "512"), ("sample_bytes", "300_000"), ("holdout_period", "5000")):
        text = re.sub(rf"(?m)^{setting} = [0-9_]+", f"{setting} = {value}", text)
    (tmp_path / "space.toml").write_text(text)
    monkeypatch.setattr(training, "CACHE", cache)
    monkeypatch.setattr(making, "CACHE", cache)
    return Setup(**{**vars(SMALL), "study": str(tmp_path / "space.toml")})


def test_a_run_is_the_same_again_and_reports_twenty_times(small: Setup) -> None:
    params = training.plan_of(small).baselines["by-hand"]
    job = Job(0, "long", 100, 100)
    one, other = (training.run(small, job, params) for _ in range(2))
    assert one["bpb"] == other["bpb"]
    assert len(one["bpb"]) == len(one["steps"]) == 20
    assert one["bpb"][-1] < one["bpb"][0]
    # A step costs 0.02 s and what its operations take: all of them fit, and one more would not.
    cost = step_seconds(small, training.plan_of(small).configuration(params))
    assert cost * (one["steps"][-1] - 1) < 0.5 <= cost * one["steps"][-1] + 1e-9


def test_a_table_that_was_cut_off_goes_on_and_ends_the_same(
    small: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is trained is a formula here: the order of runs is what counts."""
    monkeypatch.setattr(order, "BLOCK", 6)
    monkeypatch.setattr(order, "SPREAD_BLOCKS", 1)
    monkeypatch.setattr(training, "recipe", lambda setup: {**BASELINE, "n_layer": 1})
    monkeypatch.setattr(training, "run", formula)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        making.Making(small, Kept(tmp_path / "whole", small), pool).make(2)
        lines = (tmp_path / "whole").read_text().splitlines()
        assert len(lines) == 1 + len(set(lines[1:]))
        for left in (1, 4, 20):
            (tmp_path / f"cut-{left}").write_text("\n".join(lines[:left]) + "\n")
            making.Making(small, Kept(tmp_path / f"cut-{left}", small), pool).make(2)
            assert (tmp_path / f"cut-{left}").read_text().splitlines()[1:] == lines[1:]
    making.pack(small, Kept(tmp_path / "whole", small), tmp_path / "packed")
    table = read(tmp_path / "packed")
    assert [r.number for r in table.rows] == list(range(14))
    assert all(len(r.long) == 3 for r in table.ranking[: order.BEST_THRICE])
    assert str(tmp_path) not in table.study


def formula(setup: Setup, job: Job, params: Params) -> dict[str, object]:
    bpb = [2 + params["max_lr"] + job.seed / 1e4 + job.number / 1e3] * 20
    return {**vars(job), "params": params, "bpb": bpb, "train_bpb": bpb, "steps": [1] * 20, "cpu_seconds": 0.0}
