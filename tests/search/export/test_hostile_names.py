"""Exports from strangers, and of runs whose record a stranger has written: refused in a line, never run or believed."""

from pathlib import Path
from typing import Any

import pytest

from model.formats.checkpoint import Checkpoint
from search.analysis import snapshot
from search.analysis.caveats import Caveat
from search.analysis.snapshot import read
from search.common.errors import SearchError, StudyFileError
from search.export.export import best_export, render
from search.export.reader import read_export, read_tables
from search.retrain.evaluate import stated_result
from search.study.plan import Plan
from storage.server.database import Database
from tests.search.shown import add, full_study

TABLE: dict[str, Any] = {
    "study": "tiny",
    "configuration": "trial 1",
    "budget": "6m",
    "result": {"val_bpb": 1.0, "seeds": [0]},
    "data": {"source": "builtin"},
}
LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


def test_a_seed_is_never_code() -> None:
    """A stolen credential may write a run's attributes, and so its seed."""
    table = TABLE | {"result": {"val_bpb": 1.0, "seeds": ["0); import os; os.abort(); (0"]}}
    with pytest.raises(SearchError, match="must be an integer"):
        render(table, "python")
    compile(render(TABLE, "python"), "best.py", "exec")


@pytest.mark.parametrize(
    "text",
    [
        "a: 2026-02-30",
        "a: !!int none",
        "a: !!timestamp none",
        "a = " + "1" * 5000,
        "a: " + "1" * 5000,
        "a = " + "[" * 3000,
        "[" * 3000,
    ],
)
def test_what_is_no_export_is_said_to_be_none(text: str, tmp_path: Path) -> None:
    """Whatever the readers of TOML and YAML meet in it."""
    path = tmp_path / "best.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SearchError, match="not an export of lilm-search"):
        read_export(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[proxy]\ntrials = 2\n", "that is a study file; `lilm-search export --study .*best.toml > best.toml` writes"),
        (b"budget = 4m\n", r"not valid TOML: .*line 1, column 11"),
        (b"PK\xff\xfe", "not an export of lilm-search, which is text; `lilm-search export"),
    ],
)
def test_what_else_it_is_is_said(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "best.toml").write_bytes(content)
    with pytest.raises(SearchError, match=said):
        read_export(tmp_path / "best.toml")


def test_aliases_are_not_followed(tmp_path: Path) -> None:
    """The objects that aliases make are small until they are printed."""
    path = tmp_path / "best.yaml"
    path.write_text(LAUGHS, encoding="utf-8")
    assert read_tables(path) == [None]


@pytest.mark.parametrize("levels", [30, 400, 900, 990, 100_000])
@pytest.mark.parametrize("form", ["[{}]", '{{"a": {}}}', "{{a = {}}}"])
def test_what_is_nested_too_deeply_is_no_export(levels: int, form: str, tmp_path: Path) -> None:
    begin, end = form.replace("{}", "\0").format().split("\0")
    path, sign = tmp_path / "best.toml", " = " if "=" in form else ": "
    path.write_text(f"data{sign}{begin * levels}1{end * levels}\n", encoding="utf-8")
    with pytest.raises(SearchError, match=r"best\.toml: not an export of lilm-search"):
        read_export(path)


def test_a_study_file_that_is_nested_too_deeply_is_refused_by_name() -> None:
    for deep in (
        "[data]\nsource = " + "[" * 9999 + "]" * 9999,
        "[data]\nsource = " + "{a = " * 9999 + "1" + "}" * 9999,
        "[space]\n" + ".".join("a" * 9999) + " = 1",
        "[" + ".".join("a" * 9999) + "]",
        "[proxy]\ntrials = " + "[" * 900 + "]" * 900,
    ):
        with pytest.raises(StudyFileError, match=r"my\.toml: its lists or tables are nested too deeply"):
            Plan.parse(deep, name="my", origin="my.toml")
    with pytest.raises(StudyFileError, match=r"my\.toml: not valid TOML"):
        Plan.parse("[proxy]\ntrials = " + "9" * 5000, name="my", origin="my.toml")


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_an_export_warns_of_a_worker_and_names_no_host(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's card repeats the export's warnings, and is public."""
    study = full_study(database)
    run = {"kind": "top", "seed": 102, "confirms": 2, "worker": "ada-laptop/0", "provenance": {"host": "ada-laptop"}}
    add(study.confirmations, study.plan, 2, 1.21, **run)
    slow = Caveat("hardware", "worker ada-laptop/0 is 40% slower than others, on ada-laptop.")
    monkeypatch.setattr(snapshot, "caveats", lambda *_: [slow])
    table = best_export(read(study))
    assert "worker 1 is 40% slower than others, on a worker." in table["warnings"]
    assert "ada-laptop" not in render(table, "toml")


DATA = {"source": "prose.jsonl"}


@pytest.mark.parametrize(
    ("claim", "named"),
    [
        ({"data": DATA, "provenance": ["float32"]}, "`provenance` is"),
        ({"data": DATA, "val_bpb": "1.0"}, "`val_bpb` is"),
        ({"data": DATA, "val_bpb": float("nan")}, "`val_bpb` is"),
        ({"data": {}}, "which text"),
        ({"data": ["prose.jsonl"]}, "must be a table"),
    ],
)
def test_what_a_bundle_claims_of_itself_is_looked_at(claim: dict[str, Any], named: str) -> None:
    with pytest.raises(SearchError, match=named):
        stated_result(Checkpoint(None, None, claim), None, None)  # type: ignore[arg-type]


def test_a_claim_commands_no_terminal() -> None:
    info = {"data": DATA, "study": "\x1b[2Jtiny", "provenance": {"precision": ["float32"], "device": "a\nb"}}
    claim = stated_result(Checkpoint(None, None, info), None, None)  # type: ignore[arg-type]
    assert claim.precision is None
    assert claim.label == "[2Jtiny, ['float32'], a b"
