"""The making of a table in small: two seconds of counted training, cut off and gone on with."""

import concurrent.futures
import re
from pathlib import Path

import pytest

from tests.benchmarks.proxies import Job, Kept, Setup
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
    for setting, value in (("vocab_size", "512"), ("sample_bytes", "300_000"), ("holdout_period", "500")):
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
    cost = training.step_seconds(small, training.plan_of(small).configuration(params))
    assert cost * (one["steps"][-1] - 1) < 0.5 <= cost * one["steps"][-1] + 1e-9


def test_a_table_that_was_cut_off_goes_on_and_ends_the_same(
    small: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "BLOCK", 0)  # the baselines alone
    by_hand = training.plan_of(small).baselines["by-hand"]
    monkeypatch.setattr(training, "recipe", lambda setup: {**by_hand, "n_layer": 1})
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        making.Making(small, Kept(tmp_path / "whole", small), pool).make(0)
        runs = (tmp_path / "whole").read_text().splitlines()
        (tmp_path / "cut").write_text("\n".join(runs[:4]) + "\n")
        making.Making(small, Kept(tmp_path / "cut", small), pool).make(0)
    tables = []
    for name in ("whole", "cut"):
        making.pack(small, Kept(tmp_path / name, small), tmp_path / "packed")
        tables.append(read(tmp_path / "packed").rows)
    assert tables[0] == tables[1]
    assert [(r.number, len(r.long)) for r in tables[0]] == [(0, 3), (1, 3)]
    assert str(tmp_path) not in read(tmp_path / "packed").study
