"""The whole service as a user runs it: real commands, real Postgres, real text, seconds of training."""

import json
import os
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import torch
import yaml
from optuna_dashboard import get_note

from model.formats import checkpoint
from search.export.reader import read_export
from search.study.identity import confirm_name
from search.study.study import load_study
from storage.server.database import connect, parse_url
from storage.server.embedded import embedded
from tests.conftest import CLI_SECONDS, finish, run_cli
from tests.forking.client import OURS, Forked
from tests.search.conftest import Typed
from tests.search.tiny import PLAN, assert_exact, proxies, wait_for

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # as the commands do

PATIENT = PLAN.replace("grace_seconds = 3.0", "grace_seconds = 60.0")
"""Whom a busy machine holds up isn't lost."""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A study that `start` has run to its end on an embedded server, which goes on running, and what it printed."""
    from tests.conftest import _open_folder

    home = _open_folder()
    path = tmp_path_factory.mktemp("plan") / "tiny.toml"
    path.write_text(PATIENT, encoding="utf-8")
    command, env = [*OURS, "start", "--study", str(path)], {**os.environ, "LILM_SEARCH_HOME": str(home)}
    pipe = subprocess.PIPE
    done = finish(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env, cwd="/"))  # not forked
    assert done.returncode == 0, done.stdout + done.stderr
    with embedded(home / "postgres"):
        yield home, done.stdout


def test_start_does_the_whole_job(started: tuple[Path, str]) -> None:
    home, printed = started
    for part in (
        "baseline by-hand",
        "Pruning:",
        "too few to tell",
        "untrained model",
        "lilm-search export --study tiny",
    ):
        assert part in " ".join(printed.split())
    with embedded(home / "postgres") as url:
        database = connect(url)
        study = load_study(database, "tiny")
        assert_exact(study, lost=0)
        (baseline,) = [t for t in proxies(study) if "baseline" in t.user_attrs]
        assert baseline.number == 0
        for trial in proxies(study):
            assert list(trial.intermediate_values) == [20, 40, 60, 80, 100][: len(trial.intermediate_values)]
            assert {"provenance", "tokens", "train_seconds", "worker"} <= trial.user_attrs.keys()
        logged = {k: v for k, v in study.proxies.user_attrs.items() if k.startswith("confirmed:")}
        assert len(logged) == 2
        assert all(list(record["seeds"]) == ["100", "101"] for record in logged.values())
        assert "Confirmed at 2s" in get_note(optuna.trial.Trial(study.proxies, baseline._trial_id))
        assert "| rank |" in get_note(study.proxies)
        assert study.proxies.user_attrs["confirmed_in"] == confirm_name("tiny")
        assert len(list((home / "checkpoints").glob("tiny-*/confirm-*.pt"))) == 4
        password = str(parse_url(url).password)
        stored = [study.proxies.user_attrs, study.confirmations.user_attrs, *(t.user_attrs for t in proxies(study))]
        logs = "".join(p.read_text() for p in (home / "logs").rglob("*.log"))
        assert password not in json.dumps(stored) + printed + logs
        database.close()


def test_starting_again_does_nothing_twice(started: tuple[Path, str]) -> None:
    home, _ = started
    again = run_cli("start", "--study", "tiny", LILM_SEARCH_HOME=str(home))
    assert again.returncode == 0
    assert "rank" in again.stdout
    assert "trial 0  " not in again.stdout
    with embedded(home / "postgres") as url:
        database = connect(url)
        assert_exact(load_study(database, "tiny"), lost=0)
        database.close()


def test_status_export_train_sample(
    started: tuple[Path, str], tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"LILM_SEARCH_HOME": str(started[0])}
    monkeypatch.setenv("LILM_SEARCH_HOME", env["LILM_SEARCH_HOME"])
    code, status, _ = typed("status", "--study", "tiny")
    assert code == 0
    assert "rank" in status
    exports = {f: typed("export", "--study", "tiny", "--format", f)[1] for f in ("json", "toml", "yaml")}
    table = json.loads(exports["json"])
    assert table == tomllib.loads(exports["toml"]) == yaml.safe_load(exports["yaml"])
    assert {"parameters", "result", "baselines", "provenance", "data", "tokenizer", "model", "train"} <= table.keys()
    assert table["result"]["seeds"] == [100, 101]
    assert table["result"]["mean_bpb"] == pytest.approx(sum(table["result"]["bpb_by_seed"]) / 2)
    assert table["result"]["mean_bpb"] <= min(b["mean_bpb"] for b in table["baselines"])
    recipes = []
    for form, text in exports.items():
        (tmp_path / f"best.{form}").write_text(text, encoding="utf-8")
        recipes.append(read_export(tmp_path / f"best.{form}").training)
    assert recipes[0] == recipes[1] == recipes[2]
    out = tmp_path / "best.pt"
    trained = run_cli("train", "--config", str(tmp_path / "best.yaml"), "--budget", "1s", "--out", str(out), **env)
    assert trained.returncode == 0, trained.stderr
    assert checkpoint.load(out, torch.device("cpu")).info["budget_seconds"] == 1
    sampled = run_cli("sample", "--checkpoint", str(out), "--prompt", "the ", "--tokens", "5", **env)
    assert sampled.returncode == 0
    assert sampled.stdout.startswith("the ")


def test_a_confirmation_is_verified(started: tuple[Path, str]) -> None:
    """A tolerance of 1 BPB, since this machine's load decides how far a run of 2 s comes."""
    asked = ("--study", "tiny", "--confirmation", "0", "--tolerance", "1", "--device", "cpu")
    done = run_cli("verify", *asked, LILM_SEARCH_HOME=str(started[0]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict:  yes: it lies within the interval" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("start", "--study", "babylmm"), "did you mean `babylm`?"),
        (("status", "--study", "nothing"), 'no study is named "nothing"'),
        (("export", "--study", "nothing"), 'no study is named "nothing"'),
        (("worker", "--study", "nothing"), "it holds: tiny"),
        (("start", "--study", "none.toml"), "none.toml: can't be read: No such file"),
        (("start", "--study", "./quickstrt.toml"), "shipped studies go by their names; did you mean `quickstart`?"),
        (("start", "--study", "/none/x.toml"), "the folder /none does not exist; shipped"),
        (("start", "--study", "tiny", "--trials", "0"), "`trials` is 0, but must be >= 1"),
        (("start", "--study", "tiny", "--trials", "3"), "--as NEW-NAME"),
        (("start", "--study", "tiny", "--data", "/nothing.parquet"), "no file matches"),
        (("start", "--study", "quickstart", "--storage", "sqlite:///x"), "must be PostgreSQL"),
        (("status", "--study", "tiny", "--storage", "postgresql://u:Pa55word@127.0.0.1:1/x"), "can't be reached"),
        (("start", "--study", "quickstart", "--data", "{home}/empty.txt", "--as", "x"), "holds no text"),
        (("start", "--study", "quickstart", "--data", "{home}/rows.jsonl", "--as", "x"), "there are: story"),
        (("start", "--study", "{home}/misspelt.toml"), "`trails` is not a key here; did you mean `trials`?"),
        (("start", "--study", "{home}/impossible.toml"), "`low` is 9 and `high` is 0.03, but low must be < high"),
        (("sample", "--checkpoint", "{home}/empty.txt"), "empty.txt: not a checkpoint"),
        (("sample", "--checkpoint", "/nothing.pt"), "/nothing.pt: can't be read"),
        (("train", "--config", "/nothing.toml"), "can't be read"),
        (("export", "--study", "tiny", "--format", "xml"), "must be one of toml, json, yaml"),
        (("worker", "--study", "tiny", "--device", "gpu"), "must be one of cpu: torch sees no GPU here"),
        (("studies", "show", "nope"), "by its path; known: babylm, babylm-ideas, quickstart"),
    ],
)
def test_a_users_mistake_is_one_clear_error(
    started: tuple[Path, str], arguments: tuple[str, ...], says: str, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = started
    monkeypatch.setenv("LILM_SEARCH_HOME", str(home))
    (home / "empty.txt").write_text("")
    (home / "rows.jsonl").write_text('{"story": "once"}\n')
    (home / "misspelt.toml").write_text(PATIENT.replace("trials =", "trails ="))
    (home / "impossible.toml").write_text(PATIENT.replace("low = 1e-3", "low = 9"))
    code, out, err = typed(*(a.format(home=home) for a in arguments))
    assert code != 0
    assert says in err
    assert "Traceback" not in out + err
    assert "Pa55word" not in out + err
    assert len(err.strip().splitlines()) <= 2


def test_a_changed_space_is_refused_and_nothing_is_lost(started: tuple[Path, str], tmp_path: Path) -> None:
    home, _ = started
    changed = tmp_path / "tiny.toml"
    changed.write_text(PATIENT.replace("low = 1e-3, high", "low = 1e-4, high"), encoding="utf-8")
    done = run_cli("start", "--study", str(changed), LILM_SEARCH_HOME=str(home))
    assert done.returncode == 1
    assert "space.max_lr" in done.stderr
    assert "--as NEW-NAME" in done.stderr
    with embedded(home / "postgres") as url:
        database = connect(url)
        assert_exact(load_study(database, "tiny"), lost=0)
        database.close()


def test_doctor_finds_this_machine_well(started: tuple[Path, str]) -> None:
    done = run_cli("doctor", LILM_SEARCH_HOME=str(started[0]))
    assert done.returncode == 0, done.stdout
    assert "embedded PostgreSQL 18" in done.stdout


def test_a_wrong_password_is_not_echoed(database_url: str) -> None:
    wrong = parse_url(database_url).set(drivername="postgresql", password="Wr0ng-Secret").render_as_string(False)
    done = run_cli("status", "--study", "tiny", "--storage", wrong)
    assert done.returncode == 1
    assert "wrong user or password" in done.stderr
    assert "Wr0ng-Secret" not in done.stdout + done.stderr


def test_the_dashboard_serves_both_studies(started: tuple[Path, str]) -> None:
    from urllib.request import urlopen

    command = [*OURS, "dashboard", "--study", "tiny", "--port", "18373"]
    env = {**os.environ, "LILM_SEARCH_HOME": str(started[0]), "PYTHONUNBUFFERED": "1"}
    with Forked(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as server:
        try:
            wait_for(server, "confirmations: http://127.0.0.1:18373/")
            with urlopen("http://127.0.0.1:18373/api/studies", timeout=30) as answer:
                names = {s["study_name"] for s in json.load(answer)["study_summaries"]}
            assert names == {"tiny", "tiny-confirm"}
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=CLI_SECONDS)
        finally:
            server.kill()
    assert server.returncode == 0
