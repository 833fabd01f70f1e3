"""A study's files: what a worker stores, where the dashboard offers it, and that it never fails a trial."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
import torch
from optuna.trial import TrialState
from optuna_dashboard import wsgi
from sqlalchemy import exc

from model.config import ModelConfig
from model.data.corpus import Corpus
from model.formats import checkpoint
from model.network.transformer import Transformer
from model.sample import PROMPTS, sample
from search.common.errors import SearchError
from search.common.signals import StopRequest
from search.export.download import _nearest_names, download_file, listing
from search.study.artifacts import ReadArtifacts, artifact_files, attach, study_artifacts
from search.study.plan import Plan
from search.study.study import LinkedStudy, open_study
from search.worker.trial_files import LastLines, keep_confirmed, keep_trace
from search.worker.worker import Worker
from storage.artifacts.postgres import PostgresArtifactStore
from storage.errors import StorageError
from storage.queue.trial_queue import Claim
from storage.server.database import Database
from tests.search.processor import ONCE
from tests.search.tiny import PLAN

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
CPU = torch.device("cpu")


def made(database: Database, *changes: tuple[str, str]) -> LinkedStudy:
    text = PLAN
    for old, new in (("trials = 7", "trials = 1"), *changes):
        text = text.replace(old, new)
    return open_study(database, Plan.parse(text, name="tiny", origin="test"))


@pytest.fixture
def study(database: Database) -> LinkedStudy:
    return made(database)


@pytest.fixture
def weights(corpus: Corpus, tmp_path: Path) -> Path:
    network = Transformer(ModelConfig(context=32, n_layer=1, n_head=1, head_dim=8), corpus.tokenizer.vocab_size)
    checkpoint.save(tmp_path / "confirm-0.pt", network, corpus.tokenizer, {})
    return tmp_path / "confirm-0.pt"


def finished(study: LinkedStudy) -> int:
    """A confirmation run that has ended: Optuna lets nothing be added to it."""
    trial = study.confirmations.ask()
    study.confirmations.tell(trial, 2.0)
    return trial._trial_id


def content(study: LinkedStudy, part: optuna.Study, name: str) -> bytes:
    (file,) = [f for f in artifact_files(part) if f.filename == name]
    with study_artifacts(study).open_reader(file.artifact_id) as opened:
        return opened.read()


def get(app: Any, path: str) -> tuple[str, bytes]:
    """Ask the dashboard for a page, as a browser would."""
    environ: dict[str, Any] = {"PATH_INFO": quote(path)}
    setup_testing_defaults(environ)
    answers: list[str] = []
    body = app(environ, lambda status, headers, *rest: answers.append(status))
    return answers[0], b"".join(body)


def test_a_worker_stores_weights_and_samples_and_the_dashboard_offers_them(database: Database, home: Path) -> None:
    """A real study: one proxy, the baseline, and its confirmation, each trained for half a second."""
    brief = [(f'budget = "{n}s"', 'budget = "0.5s"') for n in (1, 2)]
    study = made(database, *brief, ("top = 1", "top = 0"), ("seeds = 2", "seeds = 1"))
    lines: list[str] = []
    Worker(study, "one", CPU, StopRequest(), lines.append, **ONCE).run()
    (run,) = study.confirm_trials()
    assert run.state == TrialState.COMPLETE, lines
    names = {"confirm-0.pt", "record-0.txt", "samples-0.txt"}
    assert {(f.trial, f.filename) for f in artifact_files(study.confirmations)} == {(0, name) for name in names}
    here = home / "checkpoints" / study.folder / "confirm-0.pt"
    assert content(study, study.confirmations, "confirm-0.pt") == here.read_bytes()
    written = content(study, study.confirmations, "samples-0.txt").decode()
    assert PROMPTS[0] + sample(checkpoint.load(here, CPU), PROMPTS[0]) in written
    record = content(study, study.confirmations, "record-0.txt").decode()
    assert f"ended: {run.value:.6f} BPB" in record
    assert "".join(f"\n{step},{bpb:.6g}" for step, bpb in sorted(run.intermediate_values.items())) in record
    assert json.dumps(run.user_attrs["provenance"]["text_sha256"]) in record
    assert f"\nconfirmation 0: {run.value:.4f} BPB after" in record
    assert not [f for f in artifact_files(study.proxies) if f.trial is not None]  # nothing for a proxy

    app = wsgi(database.storage, artifact_store=ReadArtifacts(database))
    status, body = get(app, f"/api/studies/{study.confirmations._study_id}")
    (trial,) = json.loads(body)["trials"]
    assert status == "200 OK"
    links = {a["filename"]: a["artifact_id"] for a in trial["artifacts"]}
    assert links.keys() == names
    link = f"/artifacts/{study.confirmations._study_id}/{run._trial_id}/{links['confirm-0.pt']}"
    assert get(app, link) == ("200 OK", here.read_bytes())


def test_a_finished_trial_takes_a_file_once(study: LinkedStudy, tmp_path: Path) -> None:
    trial_id, path = finished(study), tmp_path / "a.txt"
    path.write_text("first")
    first = attach(study, study.confirmations, trial_id, path)
    path.write_text("second")
    assert attach(study, study.confirmations, trial_id, path) == first
    other = finished(study)
    assert attach(study, study.confirmations, other, path) != first
    assert [f.trial for f in artifact_files(study.confirmations)] == [0, 1]


def test_weights_over_the_limit_stay_where_they_are_and_the_rest_is_stored(database: Database, weights: Path) -> None:
    study, lines = made(database, ("[workers]", "[workers]\nartifact_mb = 0.01")), list[str]()
    assert weights.stat().st_size > 10_000
    keep_confirmed(study, finished(study), weights, CPU, lines.append)
    assert [f.filename for f in artifact_files(study.confirmations)] == ["samples-0.txt"]
    (line,) = lines
    assert line.startswith("note: not all of confirm-0's files could be stored: the file is larger than 0.01 MB")


def passing(*args: Any) -> NoReturn:
    raise exc.OperationalError("INSERT", {}, Exception("the server went away"))


def broken(*args: Any) -> NoReturn:
    raise RuntimeError("no such thing")


def test_an_upload_outlives_an_absence_of_the_database(
    study: LinkedStudy, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = PostgresArtifactStore.write, [passing]

    def once(self: PostgresArtifactStore, name: str, body: Any) -> None:
        if failures:
            failures.pop()()
        write(self, name, body)

    monkeypatch.setattr(PostgresArtifactStore, "write", once)
    lines: list[str] = []
    keep_confirmed(study, finished(study), weights, CPU, lines.append)
    assert lines == []
    assert [f.filename for f in artifact_files(study.confirmations)] == ["confirm-0.pt", "samples-0.txt"]


@pytest.mark.parametrize("write", [passing, broken])
def test_an_upload_that_fails_is_reported_and_never_raised(
    write: Callable[..., NoReturn], study: LinkedStudy, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresArtifactStore, "write", write)
    monkeypatch.setattr("search.worker.trial_files.PATIENCE_SECONDS", 0.0)
    lines: list[str] = []
    keep_confirmed(study, finished(study), weights, CPU, lines.append)
    assert len(lines) == 1
    assert lines[0].startswith("note: not all of confirm-0's files could be stored: ")
    assert artifact_files(study.confirmations) == []


def test_weights_that_cannot_be_read_are_stored_all_the_same(study: LinkedStudy, tmp_path: Path) -> None:
    (tmp_path / "confirm-0.pt").write_bytes(b"no weights")
    lines: list[str] = []
    keep_confirmed(study, finished(study), tmp_path / "confirm-0.pt", CPU, lines.append)
    assert [f.filename for f in artifact_files(study.confirmations)] == ["confirm-0.pt"]
    assert [line.split(":")[1] for line in lines] == [" confirm-0 has no samples"]


def test_an_errors_trace_is_stored_without_secrets(study: LinkedStudy, home: Path, database_url: str) -> None:
    password = study.database.engine.url.password
    assert password

    def train(*args: Any, **options: Any) -> NoReturn:
        raise RuntimeError(f"a fault of ours, with {database_url} in it, and {password} alone")

    Worker(study, "one", CPU, StopRequest(), lambda line: None, train, **ONCE).run()
    (failed,) = study.proxy_trials()
    assert failed.user_attrs["failure"] == "error"
    text = content(study, study.proxies, "error-0.txt").decode()
    assert "Traceback (most recent call last)" in text
    assert "a fault of ours, with postgresql" in text
    assert "trial 0: max_lr 0.01" in text.split("last lines:")[1]
    assert password not in text


def test_a_trace_has_the_last_lines_only(study: LinkedStudy) -> None:
    say = LastLines(lambda line: None, most=2)
    for line in ("one", "two", "three"):
        say(line)
    keep_trace(study, study.confirmations, Claim(finished(study), 1, {}), "Traceback: what", say)
    text = content(study, study.confirmations, "error-1.txt").decode()
    assert text == "Traceback: what\n\nThe worker's last lines:\ntwo\nthree\n"


def test_the_dashboard_shows_the_files_of_every_study_and_takes_none(study: LinkedStudy, tmp_path: Path) -> None:
    """Also where a study keeps its files in a bucket that can't be reached from here."""
    text = PLAN.replace("[workers]", '[workers]\nartifacts = "s3://bucket/x"')
    open_study(study.database, Plan.parse(text, name="afar", origin="test"))
    (tmp_path / "a.txt").write_text("ours")
    artifact_id = attach(study, study.confirmations, finished(study), tmp_path / "a.txt")
    store = ReadArtifacts(study.database)
    assert store.open_reader(artifact_id).read() == b"ours"
    with pytest.raises(StorageError, match="can't be added"):
        store.write("x", io.BytesIO(b"x"))
    with pytest.raises(StorageError, match="can't be removed"):
        store.remove(artifact_id)


def test_only_the_nearest_of_many_names_are_offered() -> None:
    names = {f"confirm-{n}.pt" for n in range(30)} | {"tokenizer.json"}
    assert _nearest_names("tokeniser.json", names) == "nearest: tokenizer.json"
    assert _nearest_names("confirm-77.pt", names).count(",") == 2
    assert _nearest_names("zzz", names) == "none of its 31 is called alike"
    assert _nearest_names("zzz", set()) == "there are none"


def test_files_are_listed_and_brought(study: LinkedStudy, tmp_path: Path) -> None:
    (tmp_path / "samples-0.txt").write_bytes(b"x" * 1234)
    attach(study, study.confirmations, finished(study), tmp_path / "samples-0.txt")
    lines = listing(study)
    assert lines[0].split() == ["confirmation", "0", "samples-0.txt", "0.001", "MB"]
    assert lines[1:] == ["1 files in the study's database, 0.001 MB"]
    assert listing(study, trial=0) == ["0 files in the study's database"]
    assert len(listing(study, confirmation=0)) == 2
    out = tmp_path / "here.txt"
    assert download_file(study, "samples-0.txt", None, None, out) == f"0.001 MB, written to {out}"
    assert out.read_bytes() == b"x" * 1234
    with pytest.raises(SearchError, match="exists already"):
        download_file(study, "samples-0.txt", None, None, out)
    with pytest.raises(SearchError, match=r"no such file here; there are: samples-0\.txt"):
        download_file(study, "confirm-1.pt", None, None, tmp_path / "other")
    with pytest.raises(SearchError, match="--trial is 0 and --confirmation 0, but a file is of one"):
        listing(study, trial=0, confirmation=0)
    study_artifacts(study).remove(artifact_files(study.confirmations)[0].artifact_id)
    with pytest.raises(SearchError, match="its content is gone"):
        download_file(study, "samples-0.txt", None, None, tmp_path / "other")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["here.txt", "samples-0.txt"]


def test_a_worker_that_cannot_reach_the_studys_files_claims_nothing(database: Database, home: Path) -> None:
    study = made(database, ("[workers]", '[workers]\nartifacts = "https://files"'))
    with pytest.raises(StorageError, match="s3://BUCKET"):
        Worker(study, "one", CPU, StopRequest(), lambda line: None).run()
    assert {t.state for t in study.proxy_trials()} == {TrialState.WAITING}
