"""Exports and releases of a real study, on a clock that counts steps; measured again without study and database."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch
import yaml
from scipy.stats import binomtest
from typer.testing import CliRunner, Result

from model.formats import checkpoint, zip_bundle
from model.formats.load import load
from model.minimal_pairs import choose, read_pairs
from model.sample import samples
from model.training.train import train
from search.analysis.snapshot import read
from search.cli.main import app
from search.common import paths
from search.common.errors import SearchError
from search.common.signals import StopRequest
from search.export.bundle import Places, release, write_release
from search.export.export import FORMATS, best_export, render, top_export, write
from search.export.reader import LIST, read_export
from search.retrain.evaluate import measure
from search.retrain.verify import Verification
from search.study.plan import Plan
from search.study.results import confirmed
from search.study.study import LinkedStudy, open_study
from search.worker import trial_files
from search.worker.worker import Worker
from storage.server.database import connect
from tests.conftest import database_with_tables, run_cli
from tests.model.training.test_train import World
from tests.search.processor import ONCE
from tests.search.tiny import PLAN

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
CPU = torch.device("cpu")
NOWHERE = "postgresql://nobody@127.0.0.1:9/none"  # a command that asked a database would fail


IDEAS = """
document_mask = true
kv_blocks = 2
value_residual = true
embedding_shortcut = true
experts = 4
expert_balance_loss = 0.001
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """English that comes with Python, a row for each paragraph."""
    path = tmp_path_factory.mktemp("text") / "prose.jsonl"
    rows = [row for topic in topics.values() for row in str(topic).split("\n\n")]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows[:1500]), encoding="utf-8")
    return path


PAIRS = {
    "agreement": [("she goes home", "she go home"), ("they go home", "they goes home"), ("it is", "it are")],
    "order": [("the list of names", "list the of names"), ("in the file", "the in file")],
}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Minimal pairs of two phenomena."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [
        {"sentence_good": good, "sentence_bad": bad, "linguistics_term": name}
        for name, pairs in PAIRS.items()
        for good, bad in pairs
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def study(text: Path, task: Path, embedded_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LinkedStudy]:
    """Two proxies, the baseline among them, and two seeds of each confirmed; a step takes 50 ms."""
    with pytest.MonkeyPatch.context() as patch:
        world = World(patch, itertools.repeat(0.05))
        patch.setattr(trial_files, "samples", partial(samples, max_tokens=20))  # a hundred take longer than training
        patch.setenv("LILM_SEARCH_HOME", str(tmp_path_factory.mktemp("home")))
        database = connect(database_with_tables(embedded_url))
        settled = PLAN.replace("trials = 7", "trials = 2").replace('"builtin"', json.dumps(str(text)))
        settled = settled.replace("n_layer = 1", f"n_layer = 2\n{IDEAS}")
        settled = settled.replace("seeds = 2", f"seeds = 2\nscores = [{json.dumps(str(task))}]")
        opened = open_study(database, Plan.parse(settled, name="tiny", origin="test"))
        Worker(opened, "one", CPU, StopRequest(), print, partial(train, clock=world), **ONCE).run()
        yield opened
        database.close()


@pytest.fixture(scope="module")
def handed(study: LinkedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with best.zip and the folder `hf`."""
    place = tmp_path_factory.mktemp("handed")
    write_release(read(study), None, Places(place / "best.zip", place / "hf"), print)
    return place


def measured(path: Path, **options: Any) -> tuple[Verification, str]:
    output: list[str] = []
    settings = {"config": None, "rank": None, "data": None, "tolerance": None, "device": CPU, **options}
    verification = measure(path, progress=lambda *stage: None, say=output.append, **settings)
    return verification, "\n".join(output)


def test_a_bundle_claims_the_bpb_of_the_run_whose_weights_it_holds(study: LinkedStudy, handed: Path) -> None:
    best = confirmed(study)[0]
    run = min(best.runs, key=lambda run: run.value or 0.0)
    bundled = load(handed / "best.zip", CPU)
    assert bundled.info["val_bpb"] == run.value == min(best.bpb_by_seed.values())
    assert (bundled.info["confirmation"], bundled.info["seed"]) == (run.number, run.user_attrs["seed"])
    own = checkpoint.load(paths.checkpoints(study.folder) / f"confirm-{run.number}.pt", CPU)
    for name, weights in own.network.state_dict().items():
        assert torch.equal(weights, bundled.network.state_dict()[name])
    table = tomllib.loads((handed / "hf" / "export.toml").read_text())
    assert table["result"] == best_export(read(study))["result"]
    assert table["weights"]["val_bpb"] == run.value
    card = (handed / "hf" / "README.md").read_text()
    for part in (
        f"**{run.value:.4f}**",
        f"{table['result']['val_bpb']:.4f} (",
        "2 seeds",
        "by hand",
        "# license: choose",
    ):
        assert part in card
    assert "the best seed's" in card
    assert "Each token is predicted from its own document alone." in card
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["model-index"][0]["results"][0]["metrics"][0]["value"] == round(run.value or 0.0, 4)


def test_scores_on_minimal_pairs_stand_beside_the_bpb(study: LinkedStudy, handed: Path, task: Path) -> None:
    """Those of the run's own weights, measured again here; intervals are scipy's."""
    best, pairs = confirmed(study)[0], read_pairs([str(task)])
    right = {}
    for run in best.runs:
        trained = checkpoint.load(paths.checkpoints(study.folder) / f"confirm-{run.number}.pt", CPU)
        right[run.number] = int(choose(trained.network, trained.tokenizer, pairs).right.sum())
    table, card = tomllib.loads((handed / "hf" / "export.toml").read_text()), (handed / "hf" / "README.md").read_text()
    own, both = table["weights"]["minimal_pairs"], table["result"]["minimal_pairs"]
    assert own["accuracy"] == right[load(handed / "hf", CPU).info["confirmation"]] / 5
    assert both["accuracy"] == pytest.approx(sum(right.values()) / 10)
    for scores in (own, both):
        expected = binomtest(round(scores["accuracy"] * 5), 5).proportion_ci(0.95, "wilson")
        assert scores["interval_95"] == pytest.approx([expected.low, expected.high])
        low, high = scores["interval_95"]
        assert f"| {scores['accuracy']:.1%} ({low:.1%} … {high:.1%}) |" in card
    assert {name: scores["pairs"] for name, scores in both["phenomena"].items()} == {"agreement": 3, "order": 2}
    assert both["note"] == "never used to choose"
    assert "They were never used to choose." in card
    assert all("minimal_pairs" in baseline for baseline in table["baselines"])


def test_zip_and_folder_hold_the_same_and_name_no_machine_nor_folder(handed: Path, text: Path) -> None:
    with zipfile.ZipFile(handed / "best.zip") as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    assert files == {p.name: p.read_bytes() for p in (handed / "hf").iterdir()}
    content = b"".join(files.values())
    assert str(text.parent).encode() not in content
    assert os.uname().nodename.encode() not in files["provenance.json"] + files["export.toml"] + files["README.md"]


def test_it_is_measured_again_with_no_study_no_database_and_a_new_home(
    handed: Path, text: Path, fresh_home: Path
) -> None:
    """As elsewhere: another process, and of the study nothing but the file."""
    away = {"LILM_SEARCH_STORAGE": NOWHERE, "LILM_SEARCH_HOME": str(fresh_home)}
    done = run_cli("evaluate", "--checkpoint", str(handed / "best.zip"), "--data", str(text), **away)
    assert done.returncode == 0, done.stdout + done.stderr
    result = load(handed / "best.zip", CPU).info["val_bpb"]
    assert f"claimed:  {result:.4f} BPB" in done.stdout
    assert f"here:     {result:.4f} BPB" in done.stdout
    assert ", within documents" in done.stdout
    assert "verdict:  yes: off by" in done.stdout
    assert "the same (sha-256)" in done.stdout


def test_every_form_measures_alike_and_a_false_claim_is_found(
    study: LinkedStudy, handed: Path, text: Path, tmp_path: Path
) -> None:
    weights = paths.checkpoints(study.folder) / f"confirm-{load(handed / 'hf', CPU).info['confirmation']}.pt"
    here = {
        verification[1].splitlines()[2] for verification in (measured(handed / "hf", data=str(text)), measured(weights))
    }
    assert len(here) == 1
    bragging = load(weights, CPU)
    checkpoint.save(
        tmp_path / "a.pt",
        bragging.network,
        bragging.tokenizer,
        bragging.info | {"val_bpb": bragging.info["val_bpb"] - 0.001},
    )
    assert measured(tmp_path / "a.pt")[0].answer == "no"
    assert measured(tmp_path / "a.pt", tolerance=0.002)[0].answer == "yes"


def test_on_another_text_it_says_that_nothing_can_be_told(
    handed: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(text.read_text().replace("the", "thy"), encoding="utf-8")
    verification, output = measured(handed / "hf", data=str(other))
    assert verification.answer == "can't tell"
    assert "the text here is not the model's" in verification.why
    assert "another" in output
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SearchError, match=r"prose\.jsonl, which is not here: say where with --data"):
        measured(handed / "hf")


def test_a_checkpoint_without_its_text_takes_it_from_an_export(study: LinkedStudy, tmp_path: Path) -> None:
    """As confirmation runs of earlier versions are: nothing but their number and BPB."""
    best = confirmed(study)[0].runs[0]
    old = load(paths.checkpoints(study.folder) / f"confirm-{best.number}.pt", CPU)
    info = {"study": "tiny", "confirmation": best.number, "val_bpb": best.value}
    checkpoint.save(tmp_path / "old.pt", old.network, old.tokenizer, info)
    with pytest.raises(SearchError, match="--config"):
        measured(tmp_path / "old.pt")
    write(tmp_path / "best.yaml", best_export(read(study)), "yaml")
    assert measured(tmp_path / "old.pt", config=tmp_path / "best.yaml")[0].answer == "yes"
    bundle = zip_bundle.with_sums(release(read(study), tmp_path / "old.pt", print)[0])
    assert json.loads(bundle["provenance.json"])["seed"] == best.user_attrs["seed"]


def test_weights_that_are_not_stored_can_be_given_and_only_the_right_ones(
    study: LinkedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = confirmed(study)[0]
    elsewhere = paths.checkpoints(study.folder)
    monkeypatch.setenv("LILM_SEARCH_HOME", str(tmp_path))
    assert release(read(study), None, print)  # from the database
    monkeypatch.setattr("search.export.download.artifact_files", lambda part: [])
    with pytest.raises(SearchError, match=r"no weights of .* are stored.*--weights best\.pt"):
        release(read(study), None, print)
    mine = elsewhere / f"confirm-{best.runs[0].number}.pt"
    assert json.loads(release(read(study), mine, print)[0]["provenance.json"])["val_bpb"] == best.runs[0].value
    again = load(mine, CPU)
    own = {"val_bpb": 2.5, "seed": 9, "budget_seconds": 2.0, "tokens": 99, "provenance": again.info["provenance"]}
    checkpoint.save(tmp_path / "mine.pt", again.network, again.tokenizer, own)  # as `train` writes
    card = release(read(study), tmp_path / "mine.pt", print)[0]["README.md"].decode()
    assert "these weights, seed 9 | **2.5000**" in card
    assert "best seed" not in card
    assert json.loads(release(read(study), tmp_path / "mine.pt", print)[0]["provenance.json"])["val_bpb"] == 2.5
    checkpoint.save(tmp_path / "else.pt", again.network, again.tokenizer, {"val_bpb": 1.0, "provenance": {}})
    with pytest.raises(SearchError, match="their text differ"):
        release(read(study), tmp_path / "else.pt", print)
    (other,) = confirmed(study)[1:]
    with pytest.raises(SearchError, match="these are not of"):
        release(read(study), elsewhere / f"confirm-{other.runs[0].number}.pt", print)


def test_all_formats_are_the_same_table(study: LinkedStudy, tmp_path: Path) -> None:
    table = best_export(read(study))
    for form in FORMATS:
        write(tmp_path / form, table, form)
        assert read_export(tmp_path / form).table == table
    with pytest.raises(SearchError, match=r"must be one of toml, json, yaml, python"):
        render(table, "xml")


def test_the_best_few_and_which_of_them_is_meant(study: LinkedStudy, tmp_path: Path) -> None:
    table = top_export(read(study), 5)
    first, second = table[LIST]  # as many as there are
    assert {k: v for k, v in first.items() if k != "rank"} == best_export(read(study))
    assert [first["rank"], second["rank"]] == [1, 2]
    assert first["result"]["mean_bpb"] <= second["result"]["mean_bpb"]
    assert "yes" not in second["result"]["better_than_baseline"]
    for form in ("toml", "json", "yaml"):
        write(tmp_path / form, table, form)
        assert read_export(tmp_path / form, 2).table == second
        assert read_export(tmp_path / form, 2).training.configuration == study.plan.configuration(second["parameters"])
        with pytest.raises(SearchError, match="holds 2 configurations; say which with --rank"):
            read_export(tmp_path / form)
        with pytest.raises(SearchError, match="--rank is 3, but"):
            read_export(tmp_path / form, 3)
    with pytest.raises(SearchError, match="leave out --top"):
        render(table, "python")
    write(tmp_path / "one.toml", top_export(read(study), 1), "toml")
    assert read_export(tmp_path / "one.toml").table["configuration"] == first["configuration"]


def test_the_script_trains_the_configuration(study: LinkedStudy, tmp_path: Path) -> None:
    """A person's python, with nothing but the script; then a checkpoint that says what it is of."""
    write(tmp_path / "best.py", best_export(read(study)), "python")
    shutil.copytree(paths.cache(), tmp_path / "cache")
    command = [sys.executable, "best.py", "--seconds", "1", "--out", "mine.pt", "--cache", "cache"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "100%" in done.stdout
    mine = load(tmp_path / "mine.pt", CPU)
    assert mine.network.config == study.plan.configuration(confirmed(study)[0].params).model
    assert mine.info["seed"] == best_export(read(study))["result"]["seeds"][0]
    assert measured(tmp_path / "mine.pt")[0].answer == "yes"


def test_the_commands(study: LinkedStudy, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LILM_SEARCH_STORAGE", study.database.engine.url.render_as_string(hide_password=False))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments])

    place = {name: str(tmp_path / name) for name in ("top.json", "best.zip", "hf", "best.py")}
    done = run("export", "--study", "tiny", "--format", "json", "--top", "2", "--out", place["top.json"])
    assert done.exit_code == 0, done.output
    assert len(json.loads((tmp_path / "top.json").read_text())[LIST]) == 2
    assert run("export", "--study", "tiny", "--format", "python").stdout.startswith('"""tiny, ')
    done = run("export", "--study", "tiny", "--bundle", place["best.zip"], "--huggingface", place["hf"])
    assert done.stdout.startswith(f"written: {place['best.zip']} and {place['hf']}, ")
    output = {run("sample", "--checkpoint", place[name], "--tokens", "9").stdout for name in ("best.zip", "hf")}
    assert len(output) == 1
    for tolerance, code in (("0.01", 0), ("0", 1)):  # the claim is moved by less than the one, more than the other
        moved = load(tmp_path / "hf", CPU)
        info = moved.info | {"val_bpb": moved.info["val_bpb"] + 0.001}
        checkpoint.save(tmp_path / "moved.pt", moved.network, moved.tokenizer, info)
        asked = ("--checkpoint", str(tmp_path / "moved.pt"), "--data", str(text), "--tolerance", tolerance)
        assert run("evaluate", *asked).exit_code == code
    for wrong, hint in (
        (("--weights", "best.pt"), "add --bundle"),
        (("--top", "2", "--bundle", place["best.zip"]), "leave --top out"),
        (("--bundle", str(tmp_path / "no" / "best.zip")), "create it first"),
        (("--huggingface", place["hf"]), "not an empty folder"),
        (("--gguf", str(tmp_path / "no" / "best.gguf")), "create it first"),
        (("--gguf", str(tmp_path)), "that is a folder"),
        (("--gguf", str(tmp_path / "best.gguf")), "have no architecture there; --huggingface writes any"),
        (("--gguf", "best.gguf", "--quantize", "q4_0"), "one of f32, f16, q8_0"),
        (("--quantize", "q8_0"), "add --gguf"),
        (("--web", str(tmp_path / "no" / "page")), "create it first"),
        (("--web", place["hf"]), "not an empty folder"),
        (("--runtime", str(tmp_path)), "only a page has a runtime; add --web FOLDER"),
    ):
        assert hint in str(run("export", "--study", "tiny", *wrong).exception)
