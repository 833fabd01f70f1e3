"""Workers as a user runs them: by hand, killed, interrupted, with other text."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.trial import TrialState

from search.study.study import load_study
from storage.server.database import Database
from tests.conftest import run_cli
from tests.forking.client import OURS, Forked
from tests.search.tiny import BRIEF, assert_exact, proxies, spawn_worker, wait_for


def test_workers_by_hand_one_of_them_killed(database: Database, database_url: str, home: Path, plan_file: Path) -> None:
    opened = run_cli("start", "--study", str(plan_file), "--storage", database_url, "--workers", "0")
    assert opened.returncode == 0, opened.stderr
    workers = [spawn_worker(database_url, home) for _ in range(3)]
    try:
        wait_for(workers[0], "trial")
        workers[0].send_signal(signal.SIGKILL)
        for worker in workers[1:]:
            output, _ = worker.communicate(timeout=240)
            assert worker.returncode == 0, output
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert_exact(load_study(database, "tiny"), lost=1)


def test_ctrl_c_stops_cleanly_and_start_goes_on(
    database: Database, database_url: str, home: Path, plan_file: Path
) -> None:
    plan_file.write_text(BRIEF, encoding="utf-8")
    command = [*OURS, "start", "--study", str(plan_file), "--workers", "2"]
    env = {**os.environ, "LILM_SEARCH_STORAGE": database_url, "PYTHONUNBUFFERED": "1"}
    with Forked(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as first:
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


@contextmanager
def _one_core() -> Iterator[None]:
    """Let this process, and those that it starts, run on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


def test_start_replaces_its_only_worker_when_it_is_killed(
    database: Database, database_url: str, home: Path, plan_file: Path
) -> None:
    plan_file.write_text(BRIEF, encoding="utf-8")
    command = [*OURS, "start", "--study", str(plan_file), "--workers", "1"]
    env = {**os.environ, "LILM_SEARCH_STORAGE": database_url, "PYTHONUNBUFFERED": "1"}
    with (
        _one_core(),  # and so one thread of training
        Forked(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as started,
    ):
        wait_for(started, "BPB")
        running = [t for t in proxies(load_study(database, "tiny")) if t.state == TrialState.RUNNING]
        while not running:
            running = [t for t in proxies(load_study(database, "tiny")) if t.state == TrialState.RUNNING]
        os.kill(int(running[0].user_attrs["worker"].split("/")[1].split("-")[0]), signal.SIGKILL)
        output, _ = started.communicate(timeout=240)
    assert started.returncode == 0, output
    assert "was ended by SIGKILL; its trial goes to another" in output
    failed = [t for t in proxies(load_study(database, "tiny")) if t.state == TrialState.FAIL]
    assert_exact(load_study(database, "tiny"), lost=len(failed))  # none when it was killed between two trials
