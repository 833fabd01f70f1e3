"""`init` as a person runs it: a file that says what it found, and a study that then trains."""

import json
import re
from pathlib import Path

import pytest
import torch

from search.common.errors import SearchError
from search.common.signals import StopRequest
from search.init.make import relative_source
from search.init.study_text import quoted, write
from search.study import study_file as studyfile
from search.study.study import open_study
from search.study.trials import finished
from search.worker.worker import Worker
from storage.server.database import Database
from tests.search.conftest import Typed

STORY = "Once upon a time there was a fox who could not sleep. It counted {} stars until morning came. "


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    file = tmp_path / "stories.jsonl"
    file.write_text("".join(json.dumps({"id": i, "story": STORY.format(i) * 6}) + "\n" for i in range(900)))
    return file


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_command_writes_what_the_others_read_and_what_trains(
    stories: Path, database: Database, fresh_home: Path, typed: Typed
) -> None:
    out = stories.parent / "mine.toml"
    arguments = ("init", "--data", str(stories), "--out", str(out), "--budget", "6s")
    code, said, _ = typed(*arguments)
    assert code == 0
    assert f"lilm-search start --study {out}" in said
    assert "column `story`" in said
    text = out.read_text()
    assert '#   "Once upon a time there was a fox' in text
    assert 'source = "stories.jsonl"' in text  # beside the file: both can be moved together
    code, _, refused = typed(*arguments)
    assert (code, "exists; --force writes over it" in refused) == (1, True)
    assert out.read_text() == text
    code, shown, _ = typed("studies", "show", str(out))
    assert (code, 'column = "story"' in shown) == (0, True)
    _train_once(out, database)


def _train_once(file: Path, database: Database) -> None:
    """Open the study, made shorter, and train one of its proxies for a second."""
    text = file.read_text()
    for key, value in {"trials": "1", "top": "0", "random": "0", "widen": "0"}.items():
        text = re.sub(rf"^{key} = \d+", f"{key} = {value}", text, flags=re.M)
    text = text.replace('"6s"', '"1s"').replace('"30s"', '"2s"')
    file.write_text(text[: text.index("[baselines")])
    study = open_study(database, studyfile.read(str(file)))
    Worker(study, "one", torch.device("cpu"), StopRequest(), lambda line: None).run()
    (trial,) = finished(study.proxy_trials())
    assert trial.value is not None
    assert 0 < trial.value < 8  # bits per byte: any model that has learned anything


def test_nothing_is_written_where_something_is_wrong(tmp_path: Path, typed: Typed) -> None:
    for arguments, said in (
        (("--data", "/no/such.txt"), "no file matches"),
        (("--out", str(tmp_path / "MINE.toml")), "can't name a study"),
        (("--out", str(tmp_path / "mine")), "must end in .toml"),
    ):
        out = ("--out", str(tmp_path / "x.toml"))
        code, _, err = typed("init", *(() if "--out" in arguments else out), *arguments)
        assert (code, said in err) == (1, True), err
    assert list(tmp_path.iterdir()) == []


def test_without_a_text_it_is_said_which_is_taken(tmp_path: Path, typed: Typed) -> None:
    out = tmp_path / "x.toml"
    code, said, err = typed("init", "--out", str(out), "--budget", "6s")
    assert (code, said.startswith("No --data: the study is of the builtin text")) == (0, True), err
    written = out.read_text()
    assert "# As written: 32 proxy trials of 6s" in written or "# As written: 100 proxy trials of 6s" in written
    assert "6s" not in next(line for line in written.splitlines() if line.startswith("description"))


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    write(file, "first", force=False)
    with pytest.raises(SearchError, match="exists"):
        write(file, "second", force=False)
    assert file.read_text() == "first"
    write(file, "second", force=True)
    assert [f.name for f in tmp_path.iterdir()] == ["a.toml"]
    assert file.read_text() == "second"
    with pytest.raises(SearchError, match=r"but the folder .*none does not exist; create it first"):
        write(tmp_path / "none" / "a.toml", "third", force=False)


def test_what_lies_below_the_file_is_named_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert relative_source("texts/*.jsonl", Path("my.toml")) == "texts/*.jsonl"
    assert relative_source("texts/*.jsonl", Path("studies/my.toml")) == str(tmp_path / "texts/*.jsonl")
    assert [relative_source(s, Path("my.toml")) for s in ("builtin", "hf:a/b")] == ["builtin", "hf:a/b"]


def test_quotes_are_one_printable_line_of_bounded_length() -> None:
    for text in ("a\nb\tc", "\x1b[31mred", "x" * 999, 'a "quote" \\', "\u2028\u202e\x7f", "\ud7ff\ue000"):
        assert quoted(text).isprintable()
        assert len(quoted(text)) < 600
    assert quoted("a\nb") == '"a\\nb"'
    assert quoted("x" * 999).endswith('"…')
