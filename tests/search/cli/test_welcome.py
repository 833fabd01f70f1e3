"""`lilm-search` alone: what there is, what to do next; it starts nothing and loads little."""

import subprocess
import sys
from pathlib import Path

import pytest

from search.cli.welcome import study_state, welcome
from search.study.plan import Plan
from search.study.study import open_study
from storage.server.database import Database
from storage.server.quick_look import StudyCounts
from tests.conftest import run_cli
from tests.search.tiny import PLAN, TRIALS


def test_with_nothing_there_it_says_how_to_begin(fresh_home: Path) -> None:
    done = run_cli()
    assert (done.returncode, done.stderr) == (0, "")
    for line in ("start --study quickstart", "init --data", "--help", "doctor"):
        assert f"lilm-search {line}" in done.stdout
    assert list(fresh_home.iterdir()) == []  # no server, no folder
    text = [line for line in done.stdout.splitlines() if not line.startswith("Documentation:")]
    assert all(len(line) <= 80 for line in text)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_studies_are_listed_with_what_comes_next(database: Database, database_url: str, fresh_home: Path) -> None:
    open_study(database, Plan.parse(PLAN, name="tiny", origin="a test"))
    text = welcome(database_url)
    assert f"tiny  0 of {TRIALS} proxies; 0 confirmation runs, 1 to come; no worker is running" in text
    assert "lilm-search start --study tiny" in text


def test_what_ran_here_is_named_without_starting_its_server(fresh_home: Path) -> None:
    (fresh_home / "logs" / "earlier").mkdir(parents=True)
    assert "lilm-search status --study earlier" in welcome(None)


def test_a_database_that_is_away_is_named_and_is_no_failure(fresh_home: Path) -> None:
    done = run_cli(LILM_SEARCH_STORAGE="postgresql://u:s3cretword99@127.0.0.1:9/d")
    assert done.returncode == 0
    assert "can't be looked into" in done.stdout
    assert "lilm-search doctor" in done.stdout
    assert "s3cretword99" not in done.stdout


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"proxies": 20, "confirmed": 8}, "20 of 20 proxies; 8 confirmation runs; finished"),
        ({"proxies": 3, "running": 1, "workers": 1}, "3 of 20 proxies; 0 confirmation runs; 1 worker at it"),
        (
            {"proxies": 20, "to_confirm": 2},
            "20 of 20 proxies; 0 confirmation runs, 2 to come; no worker is running",
        ),
    ],
)
def test_a_state_is_one_line(counts: dict[str, int], text: str) -> None:
    none = dict.fromkeys(("proxies", "running", "confirmed", "to_confirm", "workers"), 0)
    assert study_state(StudyCounts(name="s", asked=20, **(none | counts))) == text


def test_the_version_is_the_packages() -> None:
    from importlib.metadata import version

    assert run_cli("--version").stdout == f"lilm-search {version('lilm-search')}\n"


QUICK = """
import sys
sys.argv = ["lilm-search"]
from search.cli.main import main
try:
    main()
except SystemExit:
    pass
print(sorted({m.split(".")[0] for m in sys.modules} & {"torch", "optuna", "sqlalchemy", "plotly", "numpy", "datasets"}))
"""


def test_nothing_heavy_is_loaded_for_it(fresh_home: Path) -> None:
    done = subprocess.run([sys.executable, "-c", QUICK], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
