"""Confirmation runs that go on where a lost worker left them, on a real database with real training of seconds."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import sqlalchemy as sa
import torch
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import FrozenTrial, TrialState

from model.errors import CheckpointError
from model.training.result import Report
from model.training.resume_state import TrainingState, save, seconds_in
from model.training.train import train
from search.common import paths
from search.common.signals import StopRequest
from search.study.plan import Plan
from search.study.study import LinkedStudy, open_study
from search.worker import resume
from search.worker.resume import SavedStates, tries
from search.worker.worker import Worker
from storage.queue.trial_queue import Claim
from storage.server.database import Database
from tests.conftest import CLI_SECONDS
from tests.search.processor import ONCE
from tests.search.tiny import PLAN, spawn_worker

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
BUDGET = 3.0
TEXT = PLAN.replace("trials = 7", "trials = 1").replace('budget = "2s"', f'budget = "{BUDGET:g}s"')


def study_of_one_run(database: Database, text: str = TEXT) -> LinkedStudy:
    """A study whose next trial is a confirmation run asked for by hand."""
    study = open_study(database, Plan.parse(text, name="tiny", origin="test"))
    asked = {"confirms": 0, "seed": 100, "budget": f"{BUDGET:g}s", "lr_scale": 1.0}
    params = {"max_lr": 8e-3, "head_dim": 8, "batch_size": 4}
    study.confirm_queue.enqueue(params, asked, {"kind": "by hand", "by_hand": True})
    return study


def runs(study: LinkedStudy) -> list[FrozenTrial]:
    return [t for t in study.confirm_trials() if "by_hand" in t.user_attrs or "retries" in t.user_attrs]


def work(study: LinkedStudy, name: str, store: Any = None, stop_at: int = 100) -> list[int]:
    """Work on one run, up to this report at most; returns what was reported."""
    stop, seen = StopRequest(), list[int]()

    def trainer(*args: Any, on_report: Callable[[Report], bool], **options: Any) -> Any:
        def noted(report: Report) -> bool:
            seen.append(report.percent)
            wanted = on_report(report)
            if report.percent >= stop_at:
                stop.ask()
            return wanted

        return train(*args, on_report=noted, **options)

    Worker(study, name, torch.device("cpu"), stop, lambda line: None, trainer, store=store, **ONCE).run()
    return seen


def assert_gone_on(study: LinkedStudy, before: str) -> None:
    """The retry has the lost try's curve, then its own; the time before is on its clock, and it says where from."""
    lost, retry = runs(study)
    assert (lost.state, lost.user_attrs["failure"]) == (TrialState.FAIL, "interrupted")
    assert retry.state == TrialState.COMPLETE
    assert list(retry.intermediate_values) == [20, 40, 60, 80, 100]
    assert lost.intermediate_values.items() <= retry.intermediate_values.items()
    attrs = retry.user_attrs
    assert max(lost.intermediate_values) <= attrs["resumed_at_percent"] < 100
    assert attrs["ran_before"] == [before]
    assert BUDGET <= attrs["train_seconds"] < 1.5 * BUDGET
    parts = ("train_seconds", "startup_seconds", "compile_seconds", "evaluate_seconds")
    assert attrs["total_seconds"] >= sum(attrs[p] for p in parts)


class Broken:
    """A store that is away."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        raise OSError("no route to host")

    def open_reader(self, artifact_id: str) -> BinaryIO:
        raise OSError("no route to host")

    def remove(self, artifact_id: str) -> None:
        raise OSError("no route to host")


def test_what_sigterm_stops_goes_on_on_another_machine(
    database: Database, database_url: str, home: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of_one_run(database)
    process = spawn_worker(database_url, home)
    while not any(len(t.intermediate_values) >= 2 for t in runs(study)):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=CLI_SECONDS)
    (tmp_path / "cache").symlink_to(cache)
    monkeypatch.setenv("LILM_SEARCH_HOME", str(tmp_path))
    reported = work(study, "two")
    lost, _ = runs(study)
    assert [*lost.intermediate_values, *reported] == [20, 40, 60, 80, 100]  # none measured twice
    assert_gone_on(study, lost.user_attrs["worker"])
    assert list(paths.resume(study.folder).iterdir()) == []
    with database.engine.connect() as connection:
        left = sa.text("SELECT count(*) FROM lilm_artifacts WHERE artifact_id LIKE '%-state-%'")
        assert connection.execute(left).scalar_one() == 0


def test_on_the_same_machine_it_needs_no_store(database: Database, home: Path) -> None:
    study = study_of_one_run(database)
    first, second = (work(study, name, Broken(), stop_at) for name, stop_at in (("one", 40), ("two", 100)))
    assert first + second == [20, 40, 60, 80, 100]
    assert_gone_on(study, "one")
    assert list(paths.resume(study.folder).iterdir()) == []


def state(seconds: float) -> Callable[[Path], None]:
    """A `write` of a state of so many training seconds."""
    content = TrainingState(
        identity="", steps=1, learning_rate=0.0, seconds={"training": seconds}, reports=[], tensors=[], averaged=0
    )
    return lambda path: save(path, content)


class Bench:
    """A run of the race that is lost again and again, and the states of its tries."""

    def __init__(self, database: Database, store: Any = None, resume_mb: float = 256.0) -> None:
        self.study = study_of_one_run(database, TEXT.replace("[workers]", f"[workers]\nresume_mb = {resume_mb}"))
        self.store, self.now, self.stopping = store, 0.0, False
        self.said: list[str] = []
        self.path = paths.resume(self.study.folder) / "confirm-1.state"
        self.claim = self._claim()

    def _claim(self) -> Claim:
        claim = self.study.confirm_queue.claim("a", None, prefer="by_hand")
        assert isinstance(claim, Claim)
        return claim

    def lose(self, cause: str = "lost") -> None:
        self.study.confirm_queue.fail(self.claim.trial_id, cause)
        before, self.claim = self.claim, self._claim()
        assert self.claim.user_attrs["retries"] == before.number

    def states(self, **options: Any) -> SavedStates:
        defaults = {"stopping": lambda: self.stopping, "go_on": lambda reports, attrs: None, "say": self.said.append}
        defaults |= {"clock": lambda: self.now, **options}
        return SavedStates(self.study, self.claim.number, self.store, **defaults)  # type: ignore[arg-type]


def test_all_tries_of_a_run_share_one_file_and_its_end_removes_it(database: Database, home: Path) -> None:
    bench = Bench(database)
    for seconds in (5.0, 9.0):
        states = bench.states()
        states.keep(seconds, state(seconds))
        bench.lose()
    assert [t.number for t in tries(bench.study.confirm_trials(), bench.claim.number)] == [1, 2, 3]
    states = bench.states()
    assert states.newest() == bench.path
    assert seconds_in(bench.path) == 9.0
    states.done()
    assert list(bench.path.parent.iterdir()) == []


def test_a_first_try_has_nothing_to_go_on_from(database: Database, home: Path) -> None:
    """Even where a study of the same name left a file: what it says is another's time and money."""
    bench = Bench(database)
    bench.path.parent.mkdir(parents=True)
    state(7.0)(bench.path)
    assert bench.states().newest() is None
    assert not bench.path.exists()


def test_what_ended_runs_left_is_cleared_and_what_waits_stays(database: Database, home: Path) -> None:
    bench = Bench(database)
    bench.states().keep(5.0, state(5.0))
    (bench.path.parent / "confirm-1.state.77.tmp").touch()
    (bench.path.parent / "confirm-99.state").touch()
    resume.clear_ended(bench.path.parent, bench.study.confirm_trials(), bench.study.confirm_queue)
    assert sorted(p.name for p in bench.path.parent.iterdir()) == ["confirm-1.state", "confirm-1.state.77.tmp"]
    bench.lose()
    bench.study.confirm_queue.fail(bench.claim.trial_id, "diverged")  # elsewhere
    resume.clear_ended(bench.path.parent, bench.study.confirm_trials(), bench.study.confirm_queue)
    assert list(bench.path.parent.iterdir()) == []


def test_writing_takes_a_fiftieth_of_the_time_at_most(database: Database, home: Path) -> None:
    """Each costs 4 s, with reports every 90 s: every third is written, 200 s after the last at the soonest."""
    bench, written = Bench(database), list[float]()

    def slow(path: Path) -> None:
        written.append(bench.now)
        bench.now += 4.0
        state(bench.now)(path)

    states = bench.states()
    for _ in range(10):
        bench.now += 90.0
        states.keep(bench.now, slow)
    assert written == [90.0, 364.0, 638.0, 912.0]
    bench.stopping = True
    states.keep(bench.now, slow)
    assert len(written) == 5  # whatever it costs


def test_a_worker_that_was_taken_over_doesnt_undo_its_successors_progress(database: Database, home: Path) -> None:
    bench = Bench(database)
    paused = bench.states()
    paused.keep(5.0, state(5.0))
    bench.lose()
    successor = bench.states()
    successor.resumed([], 0.1)
    successor.keep(9.0, state(9.0))
    paused.keep(6.0, state(6.0))
    assert seconds_in(bench.path) == 9.0


def test_a_try_that_starts_anew_replaces_a_state_that_it_could_not_use(database: Database, home: Path) -> None:
    bench = Bench(database)
    bench.states().keep(9.0, state(9.0))
    bench.lose()
    anew = bench.states()
    assert anew.newest() == bench.path
    anew.keep(2.0, state(2.0))
    assert seconds_in(bench.path) == 2.0


@pytest.mark.parametrize(("here", "shared", "wanted"), [(9.0, 5.0, 9.0), (5.0, 9.0, 9.0), (None, 5.0, 5.0)])
def test_it_goes_on_from_whichever_is_further(
    here: float | None, shared: float, wanted: float, database: Database, home: Path, tmp_path: Path
) -> None:
    bench = Bench(database, FileSystemArtifactStore(tmp_path))
    bench.stopping = True
    bench.states().keep(shared, state(shared))
    bench.path.unlink()
    if here is not None:
        state(here)(bench.path)
    bench.lose()
    bench.lose()  # the one between had none
    found = bench.states().newest()
    assert found is not None
    assert seconds_in(found) == wanted
    assert [p.name for p in found.parent.iterdir()] == [found.name]


def test_it_waits_for_a_state_that_is_on_its_way(database: Database, home: Path, tmp_path: Path) -> None:
    """The interrupted worker had reported, so that it has a state: here it arrives after 3 s; then, not at all."""
    bench = Bench(database, FileSystemArtifactStore(tmp_path))
    storage = bench.study.confirmations._storage
    for arrives, waited in ((3.0, 3.0), (99.0, 20.0)):
        storage.set_trial_intermediate_value(bench.claim.trial_id, 20, 3.0)
        early, started = bench.states(), bench.now
        bench.lose("interrupted")

        def sleep(seconds: float, early: SavedStates = early, due: float = started + arrives) -> None:
            bench.now += seconds
            if bench.now == due:
                bench.stopping = True
                early.keep(5.0, state(5.0))
                bench.path.unlink()
                bench.stopping = False

        found = bench.states(sleep=sleep).newest()
        assert found is not None
        assert found.exists() == (arrives == waited)
        assert bench.now - started == waited
        found.unlink(missing_ok=True)
        for shared in tmp_path.iterdir():
            shared.unlink()


def test_what_is_too_large_to_share_stays_and_is_said(database: Database, home: Path, tmp_path: Path) -> None:
    bench = Bench(database, FileSystemArtifactStore(tmp_path), resume_mb=1e-6)
    bench.stopping = True
    bench.states().keep(5.0, state(5.0))
    assert list(tmp_path.iterdir()) == []
    assert bench.path.exists()
    assert bench.said == ["its state stays on this machine: 0 MB, and [workers] resume_mb is 1e-06"]


def test_a_store_that_is_away_costs_nothing_but_the_state(database: Database, home: Path) -> None:
    bench = Bench(database, Broken())
    bench.stopping = True
    bench.states().keep(5.0, state(5.0))
    bench.lose()
    states = bench.states()
    assert states.newest() == bench.path
    states.done()
    assert bench.said == [
        "its state stays on this machine: no route to host",
        "no state could be fetched: no route to host",
    ]


def test_a_full_disk_costs_nothing_but_the_state(database: Database, home: Path) -> None:
    bench = Bench(database)

    def full(path: Path) -> None:
        raise CheckpointError("no space left on device")

    bench.states().keep(5.0, full)
    assert bench.said == ["its state is not kept: no space left on device"]
