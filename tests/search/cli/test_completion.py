"""TAB in a real bash, with the script that `--show-completion` prints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.cli import completion as completing
from search.study.plan import Plan
from search.study.study import open_study
from storage.server.database import Database
from tests.places import ROOT
from tests.search.tiny import PLAN

SHIPPED = {f.stem for f in (ROOT / "studies").glob("*.toml")}

BASH = """
eval "$(lilm-search --show-completion bash)"
complete -p lilm-search > /dev/null || exit 3
for line in "$@"; do
    COMP_WORDS=($line)
    [[ $line == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    _lilm_search_completion lilm-search
    echo "${COMPREPLY[*]}"
done
"""


def offered(folder: Path, *lines: str, **env: str) -> list[set[str]]:
    """Return what bash offers at the end of each line."""
    program = folder / "lilm-search"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m search "$@"\n')
    program.chmod(0o755)
    env = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    } | env
    command = ["bash", "--norc", "-c", BASH, "bash", *lines]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [set(line.split()) for line in done.stdout.splitlines()]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_shell_offers_commands_options_studies_and_formats(
    tmp_path: Path, database: Database, database_url: str, fresh_home: Path
) -> None:
    open_study(database, Plan.parse(PLAN, name="quiet", origin="a test"))
    commands, stored, shipped, formats, figures = offered(
        tmp_path,
        "lilm-search st",
        "lilm-search status --study qui",
        "lilm-search studies show swe",
        "lilm-search export --format ",
        "lilm-search plot corr",
        LILM_SEARCH_STORAGE=database_url,
    )
    assert commands == {"start", "status", "studies"}
    assert stored == {"quiet", "quickstart"}
    assert shipped == {name for name in SHIPPED if name.startswith("swe")}
    assert {"toml", "json", "yaml"} <= formats
    assert figures == {"correlation"}


def test_a_server_that_is_away_leaves_the_shipped_ones(fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LILM_SEARCH_STORAGE", "postgresql://u@127.0.0.1:9/d")
    assert set(completing.studies("")) == SHIPPED
    monkeypatch.delenv("LILM_SEARCH_STORAGE")
    (fresh_home / "logs" / "babel").mkdir(parents=True)
    assert completing.studies("bab") == ["babel", "babylm", "babylm-ideas"]


def test_figures_are_offered_by_name() -> None:
    from search.show.figures.gallery import PICTURES

    assert completing.pictures("") == list(PICTURES)
    assert completing.pictures("corr") == ["correlation"]
