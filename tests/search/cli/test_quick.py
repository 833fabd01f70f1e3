"""Commands that only look at a study answer at once: they import neither torch nor more of scipy than they need."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from storage.server.database import Database
from tests.search.shown import full_study

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # as the commands do
WITHOUT = """
import json, sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None  # to import it raises ImportError
from search.cli.main import main
for words in json.loads(sys.argv[2]):
    sys.argv[1:] = words
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            sys.exit(f"{words}: exit code {ended.code}")
"""
STUDY = ("--study", "shown")
LOOKS = (
    *(("status", *STUDY), ("status", *STUDY, "--json"), ("race", *STUDY), ("fleet", *STUDY), ("artifacts", *STUDY)),
    *(("export", *STUDY), ("export", *STUDY, "--format", "yaml"), ("export", *STUDY, "--format", "python")),
    *(("leaderboard",), ("leaderboard", "--format", "html"), ("studies",), ("studies", "show", "babylm"), ("--help",)),
    *(("status", "--help"), ("report", *STUDY, "--out", "report.html"), ("plot", *STUDY), ("credential", "list")),
)


def run(without: str, commands: Sequence[tuple[str, ...]], url: str, folder: str) -> "subprocess.CompletedProcess[str]":
    """Run the commands in one process, one after the other, which can't import these packages."""
    command = [sys.executable, "-c", WITHOUT, without, json.dumps(commands)]
    env = {**os.environ, "LILM_SEARCH_STORAGE": url}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=folder)


def test_looking_needs_no_torch(
    database: Database, database_url: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_study(database)
    folder = str(tmp_path_factory.mktemp("looks"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    done = run("torch", LOOKS, database_url, folder)
    assert (done.returncode, done.stderr) == (0, "")


def test_status_and_export_need_neither_scipy_nor_alembic(
    database: Database, database_url: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_study(database)
    folder = str(tmp_path_factory.mktemp("looks"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    looks = (("status", *STUDY), ("export", *STUDY), ("race", *STUDY))
    done = run("torch,scipy,alembic.command,alembic.migration,plotly", looks, database_url, folder)
    assert (done.returncode, done.stderr) == (0, "")


def test_completion_imports_nothing_heavy(fresh_home: object) -> None:
    script = "import sys; from search.cli import completion as c; c.studies(''); c.pictures('')"
    script += "; print(sorted({'torch', 'scipy', 'numpy', 'optuna', 'sqlalchemy', 'plotly'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
