"""Tokenizers that machines share: trained once, the same bytes for all. A home stands for a machine."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from model.config import TokenizerConfig
from model.data import corpus as corpora
from model.data import tokenizer_cache
from model.data.corpus import Corpus
from model.data.tokenizer import Tokenizer, train_tokenizer
from model.errors import StoppedError
from search.common import paths
from search.common.errors import SearchError
from search.common.signals import StopRequest
from search.machine import shared_text as shared
from search.machine.preparation import prepare_all
from search.machine.shared_text import agree_on_text, fetch_tokenizers, publish_tokenizers, shared_corpus
from search.study.artifacts import artifact_files, attach, study_artifacts
from search.study.plan import Plan
from search.study.study import LinkedStudy, load_study, open_study
from storage.access import roles
from storage.queue.lease import lease
from storage.server.database import Database, connect
from tests.conftest import CLI_SECONDS
from tests.storage.access.test_roles import login

spawn = multiprocessing.get_context("spawn")
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
PLAN = """
[data]
source = "{source}"
holdout_period = 100
holdout_rows = 5
[tokenizer]
sample_bytes = 100_000
[space]
vocab_size = {{ choices = [400, 420] }}
[proxy]
budget = "1s"
trials = 1
[confirm]
budget = "1s"
"""
CONFIG = TokenizerConfig(vocab_size=400, sample_bytes=100_000)


@pytest.fixture
def study(database: Database, tmp_path: Path) -> LinkedStudy:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"Number {i} of many, {i * i} squared.\n" for i in range(2000)), encoding="utf-8")
    return open_study(database, Plan.parse(PLAN.format(source=path), name="mine", origin="mine.toml"))


class Machines:
    """Homes to move between, and how often a tokenizer was trained in them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._patch, self._folder, self.trained = monkeypatch, folder, 0
        monkeypatch.setattr(corpora, "train_tokenizer", self._train)

    def _train(self, *args: Any) -> bytes:
        self.trained += 1
        return train_tokenizer(*args)

    def move(self, name: str) -> None:
        self._patch.setenv("LILM_SEARCH_HOME", str(self._folder / name))


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machines:
    found = Machines(monkeypatch, tmp_path / "homes")
    found.move("one")
    return found


def never() -> bool:
    return False


def kept(study: LinkedStudy) -> bytes | None:
    return tokenizer_cache.get(paths.cache(), agree_on_text(study), CONFIG)


def test_the_second_machine_trains_none_and_has_the_same_bytes(study: LinkedStudy, machines: Machines) -> None:
    first = shared_corpus(study, CONFIG, never)
    first_bytes = kept(study)
    machines.move("two")
    second = shared_corpus(study, CONFIG, never)
    assert machines.trained == 1
    assert first_bytes is not None
    assert kept(study) == first_bytes == second.tokenizer.proto
    assert (second.train.ids == first.train.ids).all()
    (file,) = artifact_files(study.proxies)
    assert (file.filename, file.trial) == (f"tokenizer-unigram-400-{first.tokenizer.sha256[:8]}.model", None)


def test_the_studys_tokenizer_goes_before_this_machines_own(study: LinkedStudy, machines: Machines) -> None:
    """Another version of the library may give other bytes for the same text and settings."""
    first = shared_corpus(study, CONFIG, never)
    machines.move("two")
    other = train_tokenizer([f"another text: {i * 7919:x}\n" for i in range(900)], CONFIG)
    tokenizer_cache.get_or_train(paths.cache(), agree_on_text(study), CONFIG, lambda: other)
    for _ in range(2):
        assert shared_corpus(study, CONFIG, never).tokenizer.proto == first.tokenizer.proto
    assert kept(study) == other  # still there for whom it is the right one
    publish_tokenizers(study)
    assert shared_corpus(study, CONFIG, never).tokenizer.proto == first.tokenizer.proto


def test_a_study_goes_on_with_the_tokenizer_it_has_though_another_would_be_trained_now(
    study: LinkedStudy, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an upgrade: this machine's own is of another format, and the study's tokens are here already."""
    first = shared_corpus(study, CONFIG, never)
    monkeypatch.setattr(tokenizer_cache, "FORMAT", tokenizer_cache.FORMAT + 1)
    assert kept(study) is None
    fetch_tokenizers(study.database, "mine")
    assert kept(study) == first.tokenizer.proto
    assert shared_corpus(study, CONFIG, never).tokenizer.proto == first.tokenizer.proto
    assert machines.trained == 1


def test_what_start_prepared_is_given_to_the_study_and_the_next_start_fetches_it(
    study: LinkedStudy, machines: Machines
) -> None:
    fetch_tokenizers(study.database, "not made yet")
    prepare_all(study.plan, lambda *stage: None, StopRequest())  # one here, the other in a process of its own
    publish_tokenizers(study)
    publish_tokenizers(study)
    assert len(artifact_files(study.proxies)) == 2
    machines.move("two")
    fetch_tokenizers(study.database, "mine")
    before = {path: path.stat().st_mtime_ns for path in (paths.cache() / "tokenizers").glob("*/tokenizer.model")}
    assert len(before) == 2
    prepare_all(study.plan, lambda *stage: None, StopRequest())
    assert machines.trained == 1
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_file_deleted_by_hand_is_trained_again_if_that_gives_the_same(
    study: LinkedStudy, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shared_corpus(study, CONFIG, never)
    (file,) = artifact_files(study.proxies)
    study_artifacts(study).remove(file.artifact_id)
    machines.move("two")
    assert shared_corpus(study, CONFIG, never).tokenizer.sha256 == first.tokenizer.sha256
    machines.move("three")
    monkeypatch.setattr(corpora, "train_tokenizer", lambda *args: b"something else")
    with pytest.raises(SearchError, match="not to be had"):
        shared_corpus(study, CONFIG, never)


def test_who_waits_stops_when_asked(study: LinkedStudy, machines: Machines) -> None:
    name = f"lilm-search/mine/{shared._attribute(agree_on_text(study), CONFIG)}"
    with lease(study.database.engine, name) as mine:
        assert mine
        with pytest.raises(StoppedError, match="another worker trains"):
            shared_corpus(study, CONFIG, lambda: True)
    assert machines.trained == 0


def _other_machine(home: Path, url: str, waiting: Any, told: Any) -> None:
    """Want the tokenizer on a machine of its own, say when waiting for another, never train."""
    os.environ["LILM_SEARCH_HOME"] = str(home)
    sleep = time.sleep

    def wait(seconds: float) -> None:
        waiting.set()
        sleep(0.05)

    patch = pytest.MonkeyPatch()  # of this process alone
    patch.setattr(time, "sleep", wait)
    patch.setattr(corpora, "train_tokenizer", lambda *args: told.put("trained"))
    found: Corpus = shared_corpus(load_study(connect(url), "mine"), CONFIG, never)
    told.put(found.tokenizer.proto)


def test_two_at_the_same_time_train_one(
    study: LinkedStudy, machines: Machines, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is not let finish before the second has come to wait."""
    waiting, told = spawn.Event(), spawn.Queue()
    second = spawn.Process(target=_other_machine, args=(tmp_path / "homes" / "two", database_url, waiting, told))
    counted = machines._train

    def slow(*args: Any) -> bytes:
        second.start()
        assert waiting.wait(CLI_SECONDS)
        return counted(*args)

    monkeypatch.setattr(corpora, "train_tokenizer", slow)
    first = shared_corpus(study, CONFIG, never)
    assert told.get(timeout=CLI_SECONDS) == first.tokenizer.proto
    second.join(CLI_SECONDS)
    assert machines.trained == 1


def _doomed_machine(home: Path, url: str, training: Any) -> None:
    os.environ["LILM_SEARCH_HOME"] = str(home)

    def hang(*args: Any) -> bytes:
        training.set()
        signal.pause()
        raise AssertionError

    pytest.MonkeyPatch().setattr(corpora, "train_tokenizer", hang)
    shared_corpus(load_study(connect(url), "mine"), CONFIG, never)


def test_who_is_killed_while_training_is_replaced_by_who_waits(
    study: LinkedStudy, machines: Machines, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "POLL_SECONDS", 0.05)
    training = spawn.Event()
    doomed = spawn.Process(target=_doomed_machine, args=(tmp_path / "homes" / "two", database_url, training))
    doomed.start()
    assert training.wait(CLI_SECONDS)
    asked = threading.Event()  # the third time that the one who waits asks whether to stop, the other is killed
    times = iter(range(10**6))

    def stop() -> bool:
        if next(times) == 2 and doomed.pid is not None:
            os.kill(doomed.pid, signal.SIGKILL)
            asked.set()
        return False

    found = shared_corpus(study, CONFIG, stop)
    doomed.join(CLI_SECONDS)
    assert asked.is_set()
    assert machines.trained == 1
    assert Tokenizer(found.tokenizer.proto).vocab_size == 400
    assert len(artifact_files(study.proxies)) == 1


def test_a_workers_credential_is_enough(
    study: LinkedStudy, machines: Machines, database_url: str, tmp_path: Path
) -> None:
    """It trains, shares, stores and reads; what it removes stays, in silence, for the owner to remove."""
    parts = [part._study_id for part in (study.proxies, study.confirmations)]
    issued = roles.new(study.database, parts, name="one", lifetime_seconds=3600)
    worker = connect(login(database_url, issued))
    theirs = load_study(worker, "mine")
    shared_corpus(theirs, CONFIG, never)
    machines.move("two")
    shared_corpus(theirs, CONFIG, never)
    assert machines.trained == 1
    trial = theirs.confirmations.ask()
    theirs.confirmations.tell(trial, 1.0)
    (tmp_path / "confirm-0.pt").write_bytes(b"weights" * 200_000)
    found = attach(theirs, theirs.confirmations, trial._trial_id, tmp_path / "confirm-0.pt")
    study_artifacts(theirs).remove(found)
    with study_artifacts(study).open_reader(found) as file:
        assert file.read() == (tmp_path / "confirm-0.pt").read_bytes()
    worker.close()
