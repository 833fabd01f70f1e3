import multiprocessing
from pathlib import Path

import pytest

from model.errors import DataError
from search.common import paths
from search.common.signals import StopRequest
from search.machine.preparation import prepare_all, tokenizers
from search.study import study_file as studyfile
from search.study.plan import Plan

PLAN = """
[data]
source = "{source}"
holdout_period = 100
holdout_rows = 5
[tokenizer]
sample_bytes = 100_000
[space]
vocab_size = {{ choices = [{sizes}] }}
[proxy]
budget = "1s"
trials = 1
[confirm]
budget = "1s"
"""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"Number {i} of many, {i * i} squared.\n" for i in range(2000)), encoding="utf-8")
    return path


def plan(text: Path, sizes: str) -> Plan:
    return Plan.parse(PLAN.format(source=text, sizes=sizes), name="mine", origin="mine.toml")


def test_the_tokenizers_of_a_study() -> None:
    assert [t.vocab_size for t in tokenizers(studyfile.read("quickstart"))] == [1024, 512, 2048]
    assert len({(t.kind, t.vocab_size) for t in tokenizers(studyfile.read("sweep-vocab"))}) == 20
    wide = PLAN.replace("choices = [{sizes}]", "low = 400, high = 4000")
    found = tokenizers(Plan.parse(wide.format(source="x.txt"), name="mine", origin="mine.toml"))
    assert [t.vocab_size for t in found] == [6144]  # too many to prepare them all


def test_all_are_prepared_and_told(fresh_home: Path, text: Path) -> None:
    stages: set[str] = set()
    prepare_all(plan(text, "380, 400, 420"), lambda stage, done, total: stages.add(stage), StopRequest())
    assert len(list((paths.cache() / "tokens").glob("*/meta.json"))) == 3
    assert {f"training unigram tokenizer, {n} tokens" for n in (380, 400, 420)} <= stages
    assert sum(s.startswith("reading") for s in stages) == 1


def test_what_goes_wrong_in_one_is_raised_and_ends_the_others(fresh_home: Path, text: Path) -> None:
    with pytest.raises(DataError, match="`vocab_size` 60000"):
        prepare_all(plan(text, "400, 60000, 380, 420"), lambda *stage: None, StopRequest())
    assert multiprocessing.active_children() == []


class Stopped(StopRequest):
    def __call__(self) -> bool:
        return True


def test_stopping_leaves_no_process(fresh_home: Path, text: Path) -> None:
    prepare_all(plan(text, "380, 400, 420"), lambda *stage: None, Stopped())
    assert multiprocessing.active_children() == []
    assert len(list((paths.cache() / "tokens").glob("*/meta.json"))) == 1
