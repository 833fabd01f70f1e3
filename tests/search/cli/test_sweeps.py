"""Sweeps, conditional spaces and the recipe through the real commands."""

import os
import signal
import subprocess
import time
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.study.study import load_study
from storage.server.database import Database
from tests.conftest import run_cli
from tests.forking.client import OURS, Forked
from tests.search.conftest import Typed
from tests.search.tiny import BRIEF, PLAN, TRIALS, proxies, wait_for

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # as the commands do

CONDITIONAL = """
attention = { choices = ["full", "grouped", "latent"] }
projection_dim = { choices = [4, 8], when = { attention = "latent" } }
n_kv_head = { low = 1, high = 2, when = { attention = "grouped" } }
mixer = { choices = ["attention", "mamba2"], when = { attention = "full" } }
ssm_state = { choices = [4, 8], when = { mixer = "mamba2" } }
window = { choices = [0, 8], when = { mixer = "attention" } }
global_every = { choices = [0, 2], when = { window = 8 } }
optimizer = { choices = ["adamw", "muon"] }
momentum = { low = 0.8, high = 0.95, when = { optimizer = "muon" } }
"""
OWN = """
attention = "latent"
projection_dim = 8
optimizer = "adamw"
"""
"""Settings of the baseline that the space asks for."""


def test_a_conditional_space_from_a_study_file_alone_killed_and_gone_on_with(
    stored: Database, database_url: str, tmp_path: Path
) -> None:
    """Ideas each with the settings that it alone has; `start` and its worker are killed in the middle of a trial."""
    path = tmp_path / "kinds.toml"
    path.write_text(
        BRIEF.replace("[space]", "[space]" + CONDITIONAL)
        .replace("n_head = 1", "n_head = 2")
        .replace("n_layer = 1", "n_layer = 2")
        .replace("batch_size = 4\n", "batch_size = 4\n" + OWN)
        .replace(f"trials = {TRIALS}", "trials = 9")
        .replace("grace_seconds = 3.0", "grace_seconds = 20.0"),  # whom a busy machine holds up isn't lost
        encoding="utf-8",
    )
    command = [*OURS, "start", "--study", str(path), "--workers", "1"]
    env = {**os.environ, "LILM_SEARCH_STORAGE": database_url, "PYTHONUNBUFFERED": "1"}
    with Forked(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as first:
        wait_for(first, "BPB")
        while not (running := [t for t in proxies(load_study(stored, "kinds")) if t.state == TrialState.RUNNING]):
            time.sleep(0.05)
        first.kill()
        os.kill(int(running[0].user_attrs["worker"].split("/")[1].split("-")[0]), signal.SIGKILL)
    before = [t for t in proxies(load_study(stored, "kinds")) if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    done = run_cli("start", "--study", str(path), "--workers", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    trials = proxies(load_study(stored, "kinds"))
    assert [(t.params, t.value) for t in before] == [(trials[t.number].params, trials[t.number].value) for t in before]
    lost = [t for t in trials if t.state == TrialState.FAIL]
    for trial in lost:  # none if it had just ended
        (successor,) = (t for t in trials if t.user_attrs.get("retries") == trial.number)
        assert successor.params.items() >= trial.params.items()
    ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len(ended) == 9 == len(trials) - len(lost)
    assert len({t.params["attention"] for t in ended}) > 1
    for trial in ended:
        params = trial.params
        assert ("projection_dim" in params) == (params["attention"] == "latent")
        assert ("n_kv_head" in params) == (params["attention"] == "grouped")
        assert ("mixer" in params) == (params["attention"] == "full")
        assert ("ssm_state" in params) == (params.get("mixer") == "mamba2")
        assert ("window" in params) == (params.get("mixer") == "attention")
        assert ("global_every" in params) == (params.get("window") == 8)
        assert ("momentum" in params) == (params["optimizer"] == "muon")
        assert {"mfu", "mode", "compile_seconds"} <= trial.user_attrs.keys()


def test_a_sweep_runs_its_grid_and_shows_it(
    stored: Database, tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three points twice, as the file says: nothing pruned, nothing confirmed, nothing twice when started again."""
    text = BRIEF[: BRIEF.index("[proxy]")].replace("max_lr = { low = 1e-3, high = 3e-2, log = true }\n", "")
    text = text.replace("head_dim = { low = 8, high = 16, step = 8 }\n", "").replace("[4, 8]", "[2, 4, 8]")
    path = tmp_path / "batches.toml"
    path.write_text(
        text + '[proxy]\nsampler = "grid"\nrepeats = 2\nbudget = "0.5s"\nreport_bytes = 3000\n', encoding="utf-8"
    )
    monkeypatch.setenv("COLUMNS", "160")
    for _ in range(2):
        done = run_cli("start", "--study", str(path), "--workers", "1")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "BPB above the best" in done.stdout
    study = load_study(stored, "batches")
    trials = proxies(study)
    assert Counter((t.params["batch_size"], t.user_attrs["seed"]) for t in trials) == Counter(
        (b, s) for b in (2, 4, 8) for s in (0, 1)
    )
    assert all(t.state == TrialState.COMPLETE for t in trials)
    assert study.confirm_trials() == []
    figure = tmp_path / "batches.html"
    code, table, err = typed("sweep", "--study", "batches")
    assert code == 0, err
    assert typed("plot", "batch", "--study", "batches", "--out", str(figure))[1] == f"figure: {figure}\n"
    rows = [line for line in table.splitlines() if line.count("│") > 3]
    assert [row.split("│")[1].strip() for row in rows] == ["2", "4", "8"]
    assert all("±" in row for row in rows)
    page = figure.read_text(encoding="utf-8")
    assert "validation BPB" in page
    assert "<script src=" not in page  # works without a network
    assert all({"train_bpb", "bytes_per_token"} <= t.user_attrs.keys() for t in trials)
    code, _, err = typed("export", "--study", "batches")
    assert code == 1
    assert "is a sweep: nothing in it is confirmed" in err


IDEAS = """
[data]
source = "builtin"
holdout_period = 50
holdout_rows = 1
[tokenizer]
vocab_size = 512
sample_bytes = 300_000
[model]
context = 32
n_layer = 2
n_head = 1
head_dim = 16
[train]
batch_size = 4
[proxy]
sampler = "grid"
budget = "0.5s"
report_every = 20
report_bytes = 3000
[ideas]
shared-keys = { kv_blocks = 2 }
wider = { mlp_ratio = 8.0, mlp = "relu2" }
"""


def test_ideas_are_trained_as_the_file_says_and_compared(stored: Database, tmp_path: Path, typed: Typed) -> None:
    path = tmp_path / "menu.toml"
    path.write_text(IDEAS, encoding="utf-8")
    done = run_cli("start", "--study", str(path), "--workers", "1", COLUMNS="160")
    assert done.returncode == 0, done.stdout + done.stderr
    study = load_study(stored, "menu")
    plain, shared, wider = sorted(proxies(study), key=lambda t: t.user_attrs["grid"])
    assert wider.user_attrs["n_params"] - plain.user_attrs["n_params"] == 2 * 2 * 16 * 4 * 16  # of 2 MLPs
    assert plain.user_attrs["n_params"] - shared.user_attrs["n_params"] == 2 * 16 * 16  # keys and values of one block
    assert study.confirm_trials() == []
    code, table, err = typed("sweep", "--study", "menu")
    assert code == 0, err
    assert all(f"{name} " in table for name in ("plain", "shared-keys", "wider"))
    assert table.count("repeats would") == 2
    assert typed("plot", "ideas", "--study", "menu", "--out", str(tmp_path / "ideas.html"))[0] == 0
    assert typed("plot", "sweep", "--study", "menu", "--out", str(tmp_path / "sweep.html"))[0] == 1
    path.write_text(IDEAS.replace("kv_blocks = 2", "kv_blocks = 4"), encoding="utf-8")
    code, _, err = typed("start", "--study", str(path))
    assert code != 0
    assert "ideas.shared-keys.kv_blocks was 2, now 4" in err


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
budget = "0.5s"
report_every = 20
report_bytes = 3000
[confirm]
budget = "0.5s"
top = 1
random = 0
"""


def test_a_sweep_over_vocabularies_is_confirmed_and_grows(stored: Database, tmp_path: Path, typed: Typed) -> None:
    """The text is too little for the default vocabulary, which no point has; later the file asks for a repeat."""
    path = tmp_path / "vocabs.toml"
    for repeats in (1, 2):
        path.write_text(VOCABULARIES.format(repeats=repeats), encoding="utf-8")
        done = run_cli("start", "--study", str(path), "--workers", "1", COLUMNS="160")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "vocabs: confirmed at 0.5s" in done.stdout
        assert "lilm-search export --study vocabs" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.count("│") > 6]
    assert [row.split("│")[1].strip() for row in rows[:2]] == ["512", "1024"]  # the leaderboard's come after
    study = load_study(stored, "vocabs")
    ran = Counter((t.params["vocab_size"], t.user_attrs["seed"]) for t in proxies(study))
    assert ran == Counter((v, s) for v in (512, 1024) for s in (0, 1))
    code, _, err = typed("export", "--study", "vocabs")
    assert code == 0, err
    code, _, err = typed("start", "--study", str(path), "--trials", "1")
    assert code == 1
    assert "is a grid of 4 runs" in err


def test_the_recipe_is_followed(home: Path, plan_file: Path, tmp_path: Path) -> None:
    plan_file.write_text(PLAN + "[recipe]\ntokens_per_param = 4\nmeasure_seconds = 0.3\nmax_layers = 3\n")
    out = tmp_path / "recipe.toml"
    done = run_cli("recipe", "--study", str(plan_file), "--budget", "1s", "--out", str(out))
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
    home: Path, plan_file: Path, tmp_path: Path, arguments: tuple[str, ...], says: str, typed: Typed
) -> None:
    code, out, err = typed("recipe", "--study", str(plan_file), *(a.format(folder=tmp_path) for a in arguments))
    assert code == 1
    assert says in err
    assert "layers" not in out
    assert len(err.strip().splitlines()) == 1
