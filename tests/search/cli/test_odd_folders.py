"""Folders of people whose names look like patterns: `init`, `start` and `doctor` read the same text in them."""

from pathlib import Path

import pytest

from model.data.sources import documents
from search.doctor.text import look
from search.init.inspect_text import inspect as inspect_text
from search.init.make import relative_source
from search.study import study_file as studyfile
from search.study.study_file import local_source

STUDY = """\
[data]
source = "{source}"
holdout_period = 4
holdout_rows = 1
[proxy]
trials = 2
budget = "1m"
[confirm]
budget = "5m"
[space]
n_layer = {{ low = 1, high = 4 }}
"""


@pytest.mark.parametrize("name", ["[proj] x", "[0-9]", "a*b", "what?"])
@pytest.mark.parametrize("pattern", ["texts/*.txt", "texts/a.txt"])
def test_a_study_files_own_folder_is_no_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, pattern: str
) -> None:
    for folder in (name, "0", "aXb", "whatX"):
        (tmp_path / folder / "texts").mkdir(parents=True)
        (tmp_path / folder / "texts" / "a.txt").write_text(f"text of {folder}\n" * 20)
    monkeypatch.chdir(tmp_path / name)
    assert inspect_text(pattern, None, None).first[0] == f"text of {name}"
    assert relative_source(pattern, Path("my.toml")) == pattern
    Path("my.toml").write_text(STUDY.format(source=pattern))
    plan = studyfile.read("./my.toml")
    monkeypatch.chdir(tmp_path)  # workers start elsewhere
    assert {text for _, text in documents(plan.data)} == {f"text of {name}"}
    (finding,) = look(plan.data)
    assert (finding.state, "20 documents" in finding.found) == ("ok", True)


def test_a_tilde_that_is_nobodys_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("~nobody-of-this-name.txt").write_text("text\n")
    assert local_source("~nobody-of-this-name.txt") == str(tmp_path / "~nobody-of-this-name.txt")
    assert relative_source("~nobody-of-this-name.txt", Path("my.toml")) == "~nobody-of-this-name.txt"
    assert inspect_text("~nobody-of-this-name.txt", None, None).first == ["text"]
