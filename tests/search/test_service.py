"""The whole service as a user runs it: real commands, real Postgres, real text, seconds of training."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard import get_note

from search.export import read_recipe
from search.study import LinkedStudy, confirm_name, load_study
from storage.database import Database, connect, parse_url
from storage.embedded import embedded
from tests.conftest import run_cli

TRIALS = 7
PLAN = f"""
description = "a study of seconds"
[data]
source = "builtin"
holdout_period = 50
holdout_rows = 1
[tokenizer]
vocab_size = 512
sample_bytes = 300_000
[model]
context = 32
n_layer = 1
n_head = 1
[space]
max_lr = {{ low = 1e-3, high = 3e-2, log = true }}
head_dim = {{ low = 8, high = 16, step = 8 }}
batch_size = {{ choices = [4, 8] }}
[proxy]
trials = {TRIALS}
budget = "1s"
report_every = 20
report_bytes = 3000
startup = 4
[confirm]
budget = "2s"
top = 1
random = 0
widen = 0
seeds = 2
[pruner]
min_trials = 4
[workers]
heartbeat_seconds = 0.5
grace_seconds = 3.0
[baselines.by-hand]
max_lr = 1e-2
head_dim = 16
batch_size = 4
"""


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(PLAN, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A study that `start` has run to its end on an embedded server, and what it printed."""
    from tests.conftest import _open_folder

    home = _open_folder()
    path = tmp_path_factory.mktemp("plan") / "tiny.toml"
    path.write_text(PLAN, encoding="utf-8")
    done = run_cli("start", "--study", str(path), LILM_SEARCH_HOME=str(home))
    assert done.returncode == 0, done.stdout + done.stderr
    return home, done.stdout


def proxies(study: LinkedStudy) -> list[FrozenTrial]:
    return study.proxies.get_trials()


def assert_exact(study: LinkedStudy, lost: int) -> None:
    """Exactly the asked proxies finished; each lost one has one successor with its parameters; all is confirmed."""
    trials = proxies(study)
    ended = Counter(t.state for t in trials)
    assert ended[TrialState.COMPLETE] + ended[TrialState.PRUNED] == TRIALS
    assert ended[TrialState.FAIL] == lost == len(trials) - TRIALS
    for trial in trials:
        successors = [t for t in trials if t.user_attrs.get("retries") == trial.number]
        assert len(successors) == (trial.state == TrialState.FAIL)
        assert all(s.params.items() >= trial.params.items() for s in successors)
    runs = [t for t in study.confirm_trials() if t.state == TrialState.COMPLETE]
    (promoted,) = {r.user_attrs["confirms"] for r in runs if "confirms" in r.user_attrs}
    wanted = Counter({("by-hand", None): 2, (None, promoted): 2})
    assert Counter((t.user_attrs.get("baseline"), t.user_attrs.get("confirms")) for t in runs) == wanted


def test_start_does_the_whole_job(started: tuple[Path, str]) -> None:
    home, printed = started
    for part in (
        "baseline by-hand",
        "Pruning:",
        "pairs are too few",
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
        assert len(list((home / "checkpoints" / "tiny").glob("confirm-*.pt"))) == 4
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


def test_status_export_train_sample(started: tuple[Path, str], tmp_path: Path) -> None:
    env = {"LILM_SEARCH_HOME": str(started[0])}
    status = run_cli("status", "--study", "tiny", **env)
    assert status.returncode == 0
    assert "rank" in status.stdout
    exports = {f: run_cli("export", "--study", "tiny", "--format", f, **env).stdout for f in ("json", "toml", "yaml")}
    table = json.loads(exports["json"])
    assert table == tomllib.loads(exports["toml"]) == yaml.safe_load(exports["yaml"])
    assert {"parameters", "result", "baselines", "provenance", "data", "tokenizer", "model", "train"} <= table.keys()
    assert table["result"]["seeds"] == [100, 101]
    assert table["result"]["val_bpb"] == pytest.approx(sum(table["result"]["bpb_by_seed"]) / 2)
    assert table["result"]["val_bpb"] <= min(b["val_bpb"] for b in table["baselines"])
    recipes = []
    for form, text in exports.items():
        (tmp_path / f"best.{form}").write_text(text, encoding="utf-8")
        recipes.append(read_recipe(tmp_path / f"best.{form}"))
    assert recipes[0] == recipes[1] == recipes[2]
    out = tmp_path / "best.pt"
    trained = run_cli("train", "--config", str(tmp_path / "best.yaml"), "--budget", "1s", "--out", str(out), **env)
    assert trained.returncode == 0, trained.stderr
    assert "BPB after 1." in trained.stdout
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
        (("start", "--study", "none.toml"), "none.toml: can't be read"),
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
        (("worker", "--study", "tiny", "--device", "gpu"), "must be one of cpu"),
        (("studies", "show", "nope"), "known: babylm, quickstart"),
    ],
)
def test_a_users_mistake_is_one_clear_error(started: tuple[Path, str], arguments: tuple[str, ...], says: str) -> None:
    home, _ = started
    (home / "empty.txt").write_text("")
    (home / "rows.jsonl").write_text('{"story": "once"}\n')
    (home / "misspelt.toml").write_text(PLAN.replace("trials =", "trails ="))
    (home / "impossible.toml").write_text(PLAN.replace("low = 1e-3", "low = 9"))
    done = run_cli(*(a.format(home=home) for a in arguments), LILM_SEARCH_HOME=str(home))
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "Pa55word" not in done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_a_changed_space_is_refused_and_nothing_is_lost(started: tuple[Path, str], tmp_path: Path) -> None:
    home, _ = started
    changed = tmp_path / "tiny.toml"
    changed.write_text(PLAN.replace("low = 1e-3, high", "low = 1e-4, high"), encoding="utf-8")
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


def spawn_worker(url: str, home: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "search", "worker", "--study", "tiny", "--threads", "1"]
    env = {**os.environ, "LILM_SEARCH_STORAGE": url, "LILM_SEARCH_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd="/")


def wait_for(worker: "subprocess.Popen[str]", text: str) -> None:
    assert worker.stdout is not None
    for line in worker.stdout:
        if text in line:
            return
    pytest.fail(f"the worker ended before it said {text!r}")


def test_workers_by_hand_one_of_them_killed(database: Database, database_url: str, home: Path, plan_file: Path) -> None:
    opened = run_cli("start", "--study", str(plan_file), "--storage", database_url, "--workers", "0")
    assert opened.returncode == 0, opened.stderr
    workers = [spawn_worker(database_url, home) for _ in range(3)]
    wait_for(workers[0], "trial")
    workers[0].send_signal(signal.SIGKILL)
    for worker in workers[1:]:
        output, _ = worker.communicate(timeout=240)
        assert worker.returncode == 0, output
    workers[0].communicate()
    assert_exact(load_study(database, "tiny"), lost=1)


def test_ctrl_c_stops_cleanly_and_start_goes_on(
    database: Database, database_url: str, home: Path, plan_file: Path
) -> None:
    command = [sys.executable, "-m", "search", "start", "--study", str(plan_file), "--workers", "2"]
    env = {**os.environ, "LILM_SEARCH_STORAGE": database_url, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as first:
        wait_for(first, "BPB")
        first.send_signal(signal.SIGINT)
        output, _ = first.communicate(timeout=120)
    assert first.returncode == 130, output
    assert "goes on from here" in output
    before = proxies(load_study(database, "tiny"))
    assert not any(t.state == TrialState.RUNNING for t in before)
    ended = {t.number: (t.state, t.value) for t in before if t.state in (TrialState.COMPLETE, TrialState.PRUNED)}
    done = run_cli("start", "--study", str(plan_file), "--storage", database_url)
    assert done.returncode == 0, done.stderr
    after = proxies(load_study(database, "tiny"))
    assert {n: (after[n].state, after[n].value) for n in ended} == ended
    assert_exact(load_study(database, "tiny"), lost=sum(t.state == TrialState.FAIL for t in after))


def test_a_worker_with_other_text_is_refused_before_it_claims(
    database: Database, database_url: str, home: Path, plan_file: Path
) -> None:
    env = {"LILM_SEARCH_STORAGE": database_url}
    assert run_cli("start", "--study", str(plan_file), "--workers", "0", **env).returncode == 0
    study = load_study(database, "tiny")
    study.proxies.set_user_attr("text_sha256", "f" * 64)
    done = run_cli("worker", "--study", "tiny", **env)
    assert done.returncode == 1
    assert "is not the study's" in done.stderr
    assert {t.state for t in proxies(study)} == {TrialState.WAITING}


def test_a_wrong_password_is_not_echoed(database_url: str) -> None:
    wrong = parse_url(database_url).set(drivername="postgresql", password="Wr0ng-Secret").render_as_string(False)
    done = run_cli("status", "--study", "tiny", "--storage", wrong)
    assert done.returncode == 1
    assert "wrong user or password" in done.stderr
    assert "Wr0ng-Secret" not in done.stdout + done.stderr


def test_the_dashboard_serves_both_studies(started: tuple[Path, str]) -> None:
    from urllib.request import urlopen

    command = [sys.executable, "-m", "search", "dashboard", "--study", "tiny", "--port", "18373"]
    env = {**os.environ, "LILM_SEARCH_HOME": str(started[0]), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as server:
        try:
            wait_for(server, "confirmations: http://127.0.0.1:18373/")
            with urlopen("http://127.0.0.1:18373/api/studies", timeout=30) as answer:
                names = {s["study_name"] for s in json.load(answer)["study_summaries"]}
            assert names == {"tiny", "tiny-confirm"}
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=60)
        finally:
            server.kill()
    assert server.returncode == 0


def test_start_replaces_its_only_worker_when_it_is_killed(
    database: Database, database_url: str, home: Path, plan_file: Path
) -> None:
    command = [sys.executable, "-m", "search", "start", "--study", str(plan_file), "--workers", "1"]
    env = {**os.environ, "LILM_SEARCH_STORAGE": database_url, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as started:
        wait_for(started, "BPB")
        running = [t for t in proxies(load_study(database, "tiny")) if t.state == TrialState.RUNNING]
        while not running:
            running = [t for t in proxies(load_study(database, "tiny")) if t.state == TrialState.RUNNING]
        os.kill(int(running[0].user_attrs["worker"].split("/")[1]), signal.SIGKILL)
        output, _ = started.communicate(timeout=240)
    assert started.returncode == 0, output
    assert "was ended by SIGKILL; its trial goes to another" in output
    failed = [t for t in proxies(load_study(database, "tiny")) if t.state == TrialState.FAIL]
    assert_exact(load_study(database, "tiny"), lost=len(failed))  # none when it was killed between two trials


CONDITIONAL = """
attention = { choices = ["full", "grouped", "latent"] }
projection_dim = { choices = [4, 8], when = { attention = "latent" } }
n_kv_head = { low = 1, high = 2, when = { attention = "grouped" } }
"""


def test_a_conditional_space_from_a_study_file_alone(home: Path, tmp_path: Path) -> None:
    """Kinds of attention, each with the settings that it alone has."""
    path = tmp_path / "kinds.toml"
    path.write_text(
        PLAN.replace("[space]", "[space]" + CONDITIONAL)
        .replace("n_head = 1", "n_head = 2")
        .replace("batch_size = 4\n", 'batch_size = 4\nattention = "latent"\nprojection_dim = 8\n')
        .replace(f"trials = {TRIALS}", "trials = 9"),
        encoding="utf-8",
    )
    done = run_cli("start", "--study", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    with embedded(home / "postgres") as url:
        database = connect(url)
        trials = proxies(load_study(database, "kinds"))
        assert all(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in trials)
        assert len(trials) == 9
        assert len({t.params["attention"] for t in trials}) > 1
        for trial in trials:
            assert ("projection_dim" in trial.params) == (trial.params["attention"] == "latent")
            assert ("n_kv_head" in trial.params) == (trial.params["attention"] == "grouped")
            assert {"mfu", "mode", "compile_seconds"} <= trial.user_attrs.keys()
        database.close()


def test_a_sweep_runs_its_grid_and_shows_it(home: Path, tmp_path: Path) -> None:
    """Three points twice, as the file says: nothing pruned, nothing confirmed, nothing twice when started again."""
    text = PLAN[: PLAN.index("[proxy]")].replace("max_lr = { low = 1e-3, high = 3e-2, log = true }\n", "")
    text = text.replace("head_dim = { low = 8, high = 16, step = 8 }\n", "").replace("[4, 8]", "[2, 4, 8]")
    path = tmp_path / "batches.toml"
    path.write_text(text + '[proxy]\nsampler = "grid"\nrepeats = 2\nbudget = "1s"\n', encoding="utf-8")
    for _ in range(2):
        done = run_cli("start", "--study", str(path), COLUMNS="160")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "BPB above the best" in done.stdout
    with embedded(home / "postgres") as url:
        database = connect(url)
        study = load_study(database, "batches")
        trials = proxies(study)
        assert Counter((t.params["batch_size"], t.user_attrs["seed"]) for t in trials) == Counter(
            (b, s) for b in (2, 4, 8) for s in (0, 1)
        )
        assert all(t.state == TrialState.COMPLETE for t in trials)
        assert study.confirm_trials() == []
        database.close()
    figure = tmp_path / "batches.html"
    shown = run_cli("sweep", "--study", "batches", "--html", str(figure), COLUMNS="160")
    assert shown.returncode == 0, shown.stderr
    rows = [line for line in shown.stdout.splitlines() if line.count("│") > 3]
    assert [row.split("│")[1].strip() for row in rows] == ["2", "4", "8"]
    assert all("±" in row for row in rows)
    assert "validation bits per byte" in figure.read_text(encoding="utf-8")
    refused = run_cli("export", "--study", "batches")
    assert refused.returncode == 1
    assert "is a sweep: nothing in it is confirmed" in refused.stderr


VOCABULARIES = """
[data]
source = "builtin"
holdout_period = 50
holdout_rows = 1
[tokenizer]
sample_bytes = 100_000
[model]
context = 32
n_layer = 1
n_head = 1
head_dim = 16
[train]
batch_size = 4
[space]
vocab_size = {{ choices = [1024, 512] }}
[proxy]
sampler = "grid"
repeats = {repeats}
budget = "1s"
[confirm]
budget = "1s"
top = 1
random = 0
"""


def test_a_sweep_over_vocabularies_is_confirmed_and_grows(home: Path, tmp_path: Path) -> None:
    """The text is too little for the default vocabulary, which no point has; later the file asks for a repeat."""
    path = tmp_path / "vocabs.toml"
    for repeats in (1, 2):
        path.write_text(VOCABULARIES.format(repeats=repeats), encoding="utf-8")
        done = run_cli("start", "--study", str(path), COLUMNS="160")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "vocabs: confirmed at 1s" in done.stdout
        assert "lilm-search export --study vocabs" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.count("│") > 6]
    assert [row.split("│")[1].strip() for row in rows[:2]] == ["512", "1024"]  # the leaderboard's come after
    with embedded(home / "postgres") as url:
        database = connect(url)
        study = load_study(database, "vocabs")
        ran = Counter((t.params["vocab_size"], t.user_attrs["seed"]) for t in proxies(study))
        assert ran == Counter((v, s) for v in (512, 1024) for s in (0, 1))
        database.close()
    exported = run_cli("export", "--study", "vocabs")
    assert exported.returncode == 0, exported.stderr
    fewer = run_cli("start", "--study", str(path), "--trials", "1")
    assert fewer.returncode == 1
    assert "is a grid of 4 runs" in fewer.stderr


def test_the_recipe_is_followed(home: Path, plan_file: Path, tmp_path: Path) -> None:
    plan_file.write_text(PLAN + "[recipe]\ntokens_per_param = 4\nmeasure_seconds = 0.3\nmax_layers = 3\n")
    out = tmp_path / "recipe.toml"
    done = run_cli("recipe", "--study", str(plan_file), "--budget", "2s", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "tokens per parameter" in done.stdout
    assert len(tomllib.loads(out.read_text())["recipe"]["learning_rates"]) == 5
    again = run_cli("train", "--config", str(out), "--budget", "1s", "--out", str(tmp_path / "again.pt"))
    assert again.returncode == 0, again.stderr
    sampled = run_cli("sample", "--checkpoint", str(out.with_suffix(".pt")), "--tokens", "3")
    assert sampled.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--tokens-per-param", "0"), "--tokens-per-param: `tokens_per_param` is 0.0, but must be > 0"),
        (("--budget", "soon"), '--budget: "soon" is no duration'),
        (("--out", "{folder}"), "but that is a folder"),
        (("--out", "{folder}/none/recipe.toml"), "does not exist; create it first"),
        (("--out", "{folder}/recipe.pt"), "that is where the checkpoint goes"),
    ],
)
def test_a_recipe_that_can_not_be_kept_is_refused_before_it_trains(
    home: Path, plan_file: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = run_cli("recipe", "--study", str(plan_file), *(a.format(folder=tmp_path) for a in arguments))
    assert done.returncode == 1
    assert says in done.stderr
    assert "layers" not in done.stdout
    assert len(done.stderr.strip().splitlines()) == 1
