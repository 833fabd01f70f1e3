"""Who comes to the leaderboard: from real databases with several studies, from exports and from bundles."""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from model.config import PROTOCOL
from model.errors import CheckpointError
from model.formats.load import write_folder
from model.formats.sample_text import format_samples
from model.formats.zip_bundle import pack
from model.sample import PROMPTS
from search.analysis.snapshot import read
from search.cli.main import app
from search.common.errors import SearchError
from search.export.export import best_export, render, top_export
from search.show.leaderboard.boards import Entrant, boards
from search.show.leaderboard.from_files import entrants_from_file
from search.show.leaderboard.from_studies import entrants_from_database
from search.show.leaderboard.links import LinkTemplate
from search.study.artifacts import attach
from search.study.results import ended_on
from search.study.study import LinkedStudy, load_study, open_study
from storage.queue.trial_queue import Claim, TrialQueue
from storage.server.database import Database, connect
from tests.conftest import database_with_tables
from tests.search.made import START, proxy
from tests.search.raced import Trainer, plan
from tests.search.shown import add, full_study

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
TEXT = "a" * 64
CONFIRM = "top = 2\nrandom = 0\nwiden = 0\nseeds = 2"
LINK = LinkTemplate("http://127.0.0.1:8080/dashboard/studies/{study_id}/trials?numbers={trial}")


class Writer(Trainer):
    """A trainer that also notes what was measured on which text, as real workers do."""

    text = TEXT

    def train(self, queue: TrialQueue, claim: Claim) -> None:
        storage = self.study.database.storage
        storage.set_trial_user_attr(claim.trial_id, "provenance", {"text_sha256": self.text, "evaluation": PROTOCOL})
        super().train(queue, claim)


def searched(database: Database, name: str, better: float, trials: int, text: str = TEXT) -> LinkedStudy:
    short = plan(CONFIRM, name=name)
    study = open_study(database, replace(short, proxy=replace(short.proxy, trials=trials)))
    trainer = Writer(study, proxy=lambda at: 2 + at, long=lambda at: 1.5 + at / 10 - better, noise=0.002)
    trainer.text = text
    trainer.run()
    return load_study(database, name)


def attach_samples(study: LinkedStudy, number: int, text: str, folder: Path) -> None:
    run = study.confirm_trials()[number]
    path = folder / f"samples-{number}.txt"
    path.write_text(text, encoding="utf-8")
    attach(study, study.confirmations, run._trial_id, path)


@pytest.fixture(scope="module")
def url(embedded_url: str) -> str:
    return database_with_tables(embedded_url)


@pytest.fixture(scope="module")
def studies(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[LinkedStudy]]:
    """Two studies on one text, one on another, and one with nothing confirmed."""
    database = connect(url)
    results = [searched(database, name, better, 4) for name, better in (("one", 0.0), ("two", 0.3))]
    results.append(searched(database, "other", 0.9, 2, "b" * 64))
    open_study(database, plan(CONFIRM, name="new"))
    best = best_export(read(results[1]))["result"]
    (number,) = [t.number for t in results[1].confirm_trials() if t.value == min(best["bpb_by_seed"])]
    written = dict(zip(PROMPTS, (" wall.", "", " tired\x1b[2J."), strict=True))
    attach_samples(results[1], number, format_samples("how", written), tmp_path_factory.mktemp("samples"))
    yield results
    database.close()


@pytest.fixture(scope="module")
def entrants(studies: list[LinkedStudy]) -> tuple[list[Entrant], list[str]]:
    return entrants_from_database(studies[0].database, None, LINK, prompts=True)


def test_each_text_has_a_board_of_its_own(entrants: tuple[list[Entrant], list[str]]) -> None:
    results = boards(entrants[0])
    assert [{r.entrant.study for r in b.rows} for b in results] == [{"one", "two"}, {"other"}]
    shared = results[0].rows
    assert [r.entrant.study for r in shared] == ["two"] * 3 + ["one"] * 3  # 0.3 BPB apart
    assert [r.rank for r in shared] == [1, 2, 3, 4, 5, 6]
    assert entrants[1] == ["new is left out: nothing in it is confirmed yet, and proxies aren't ranked"]


def test_an_entrant_says_what_its_study_says(
    studies: list[LinkedStudy], entrants: tuple[list[Entrant], list[str]]
) -> None:
    first = boards(entrants[0])[0].rows[0].entrant
    table = best_export(read(studies[1]))
    assert first.configuration == table["configuration"]
    assert first.mean_bpb == table["result"]["mean_bpb"]
    stated, half = first.stated.bpb, first.stated.half_width or 0
    assert stated == table["result"]["val_bpb"]
    assert [stated - half, stated + half] == pytest.approx(table["result"]["interval_95"])
    number = table["configuration"].removeprefix("trial ")
    study_id = studies[1].proxies._study_id
    assert first.link == f"http://127.0.0.1:8080/dashboard/studies/{study_id}/trials?numbers={number}"
    assert str(first.confirmed_on) == table["result"]["confirmed_on"]
    assert (first.confirmed_on or date.min) - datetime.now(UTC).date() <= date.resolution


def test_the_best_runs_generations_stand_beside_it(entrants: tuple[list[Entrant], list[str]]) -> None:
    wrote = {e.name: e.generations for e in entrants[0] if e.generations}
    assert list(wrote.values()) == [dict(zip(PROMPTS, (" wall.", "", " tired[2J."), strict=True))]
    assert all(name.startswith("two, ") for name in wrote)


def test_an_unknown_study_is_refused_by_name(studies: list[LinkedStudy]) -> None:
    with pytest.raises(SearchError, match='no study is named "nobody"'):
        entrants_from_database(studies[0].database, ["nobody"], LINK, prompts=False)


def test_the_command_writes_a_sites_data_file(studies: list[LinkedStudy], url: str, tmp_path: Path) -> None:
    export, out = tmp_path / "best.toml", tmp_path / "leaderboard.yml"
    export.write_text(render(best_export(read(studies[0])) | {"study": "elsewhere"}, "toml"), encoding="utf-8")
    options = ["--study", "one", "--study", "two", "--model", str(export), "--top", "5", "--out", str(out)]
    done = CliRunner().invoke(app, ["leaderboard", *options], env={"LILM_SEARCH_STORAGE": url})
    assert (done.exception, done.output) == (None, f"leaderboard: {out}\n")
    rows = yaml.safe_load(out.read_text(encoding="utf-8"))
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 4]  # the export is its study's best under another name
    assert {row["model"].split(", ")[0] for row in rows[3:]} == {"one", "elsewhere"}
    assert len(rows[0]["generations"]) == 3


def test_files_are_ranked_without_a_database(
    studies: list[LinkedStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LILM_SEARCH_STORAGE", "postgresql://nobody@127.0.0.1:1/none")
    paths = [tmp_path / f"{study.plan.name}.toml" for study in studies]
    for path, study in zip(paths, studies, strict=True):
        path.write_text(render(best_export(read(study)), "toml"), encoding="utf-8")
    options = [part for path in paths for part in ("--model", str(path))]
    done = CliRunner().invoke(app, ["leaderboard", "--only-models", "--format", "json", *options])
    assert done.exception is None
    assert [(row["rank"], row["model"].split(",")[0]) for row in json.loads(done.output)] == [
        (1, "two"),
        (2, "one"),
        (1, "other"),
    ]
    refused = CliRunner().invoke(app, ["leaderboard", "--only-models"])
    assert str(refused.exception).startswith("--only-models ranks files: name them with --model")


@pytest.fixture
def table(studies: list[LinkedStudy]) -> dict[str, Any]:
    return best_export(read(studies[1]))


@pytest.mark.parametrize("form", ["toml", "json", "yaml"])
def test_an_export_is_the_same_model(
    table: dict[str, Any], entrants: tuple[list[Entrant], list[str]], tmp_path: Path, form: str
) -> None:
    path = tmp_path / f"best.{form}"
    path.write_text(render(table, form), encoding="utf-8")
    (results,), own = entrants_from_file(path, LinkTemplate("{file}")), boards(entrants[0])[0].rows[0].entrant
    for key in ("name", "settings", "source", "conditions", "score", "seeds", "noise", "confirmed_on"):
        assert getattr(results, key) == getattr(own, key), key
    assert results.link == str(path)
    assert len(boards([*entrants[0], results])[0].rows) == 6  # it is there already


def test_a_file_of_several_brings_them_all(
    studies: list[LinkedStudy], entrants: tuple[list[Entrant], list[str]], tmp_path: Path
) -> None:
    path = tmp_path / "best.yaml"
    path.write_text(render(top_export(read(studies[1]), 2), "yaml"), encoding="utf-8")
    own = [row.entrant.name for row in boards(entrants[0])[0].rows if row.entrant.study == "two"]
    assert [e.name for e in entrants_from_file(path, LinkTemplate())] == own[:2]


def test_a_bundle_and_a_folder_bring_their_samples(table: dict[str, Any], tmp_path: Path) -> None:
    samples = format_samples("how", {"caitlin stood on the": " wall.\x1b[2J"})
    files = {"export.toml": render(table, "toml").encode(), "samples.txt": samples.encode()}
    pack(tmp_path / "best.zip", files)
    write_folder(tmp_path / "best", files)
    for path in (tmp_path / "best.zip", tmp_path / "best"):
        (results,) = entrants_from_file(path, LinkTemplate())
        assert results.mean_bpb == table["result"]["mean_bpb"]
        assert results.stated.bpb == table["result"]["val_bpb"]
        assert results.generations == {"caitlin stood on the": " wall.[2J"}


def test_strange_files_are_refused(tmp_path: Path) -> None:
    pack(tmp_path / "best.zip", {"samples.txt": b""})
    with pytest.raises(SearchError, match=r"best\.zip: this bundle has no export\.toml"):
        entrants_from_file(tmp_path / "best.zip", LinkTemplate())
    (tmp_path / "best.zip").write_bytes((tmp_path / "best.zip").read_bytes().replace(b"samples.txt", b"s/mples.txt"))
    with pytest.raises(CheckpointError, match=r"refused: an entry is called 's/mples\.txt'"):
        entrants_from_file(tmp_path / "best.zip", LinkTemplate())
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("a.txt", "a")
    with pytest.raises(SearchError, match=r"other\.zip: neither an export nor a bundle of lilm-search"):
        entrants_from_file(tmp_path / "other.zip", LinkTemplate())
    with pytest.raises(SearchError, match=r"nothing\.toml: can't be read: No such file"):
        entrants_from_file(tmp_path / "nothing.toml", LinkTemplate())


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"val_bpb": float("nan")}, "`val_bpb` is nan"), ({"confirmed_on": "soon"}, "`confirmed_on` is 'soon'")],
)
def test_exports_that_make_no_sense_are_refused(
    table: dict[str, Any], tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    path = tmp_path / "best.toml"
    path.write_text(render(table | {"result": table["result"] | changed}, "toml"), encoding="utf-8")
    with pytest.raises(SearchError, match=f"best.toml: {message}"):
        entrants_from_file(path, LinkTemplate())


def test_a_lossy_or_unknown_model_has_a_board_of_its_own(table: dict[str, Any], tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "lossy.json": {"evaluation": "lossy: lower case"},
        "unknown.json": {"text_sha256": None},
    }
    results = []
    for name, changed in changes.items():
        provenance = {k: v for k, v in (table["provenance"] | changed).items() if v is not None}
        (tmp_path / name).write_text(json.dumps(table | {"provenance": provenance}), encoding="utf-8")
        results += entrants_from_file(tmp_path / name, LinkTemplate())
    (tmp_path / "best.json").write_text(json.dumps(table), encoding="utf-8")
    assert len(boards([*results, *entrants_from_file(tmp_path / "best.json", LinkTemplate())])) == 3
    assert [e.conditions.lossless for e in results] == [False, True]
    assert results[1].conditions.measured.startswith("text not known, context")


def test_the_day_is_the_servers_where_it_saw_the_run() -> None:
    """A run that ended at 23:59 UTC on a machine whose clock showed the next morning."""
    run, other = proxy(0, 1.0), proxy(1, 1.1)
    run._trial_id, other._trial_id = 1, 2
    signs = {1: datetime(2025, 12, 31, 23, 59, tzinfo=UTC), 2: datetime(2025, 12, 30, 1, 0, tzinfo=UTC)}
    assert ended_on([run, other], signs) == date(2025, 12, 31)
    assert ended_on([run], {}) == START.astimezone(UTC).date()
    assert ended_on([], {}) is None


def test_a_study_that_nobody_can_read_hides_no_other(database: Database) -> None:
    """A stolen login may write anything into its own study: odd attributes are passed over, a broken plan is said."""
    full_study(database)
    junk = full_study(database, "junk")
    add(junk.confirmations, junk.plan, 3, 1.2, kind="top", seed=100, confirms=3, provenance=["no table"])
    results, notes = entrants_from_database(database, None, LinkTemplate(), prompts=False)
    assert ({e.study for e in results}, notes) == ({"shown", "junk"}, [])
    junk.proxies.set_user_attr("plan", "no [ plan")
    results, notes = entrants_from_database(database, None, LinkTemplate(), prompts=False)
    assert {e.study for e in results} == {"shown"}
    assert len(notes) == 1
    assert notes[0].startswith("junk is left out: ")
