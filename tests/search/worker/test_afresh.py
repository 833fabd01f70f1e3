"""A worker whose GPU can't go on in its process: the trial is handed back, the process ends, another one is started."""

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from optuna.trial import TrialState

from model.errors import CaptureError
from search.cli.error_messages import exit_code_and_message
from search.common.errors import SearchError
from search.common.exit_codes import AFRESH
from search.common.signals import StopRequest
from search.machine.slots import Slot
from search.study.study import LinkedStudy
from search.worker import pool
from storage.server.database import Database
from tests.search.worker.test_outages import Simulated, opened, worker

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
CAUSE = "a training step could not be captured as a CUDA graph on cuda:0: a look at a value"


def no_capture(percent: int) -> None:
    raise CaptureError(CAUSE)


def test_a_failed_capture_hands_the_trial_back_and_ends_the_worker(database: Database, home: Path) -> None:
    """The next worker that it befalls ends too, but the trial is tried five times at most: it may be the cause."""
    study, lines = opened(database), list[str]()
    for tries in range(1, 6):
        with pytest.raises(CaptureError) as error:
            worker(study, Simulated(no_capture), lines).run()
        assert exit_code_and_message(error.value) == (AFRESH, CAUSE)
        failed = [t for t in study.proxy_trials() if t.state == TrialState.FAIL]
        assert [t.user_attrs["failure"] for t in failed] == ["lost"] * tries
    waiting = [t for t in study.proxy_trials() if t.state == TrialState.WAITING]
    assert (len(waiting), any(CAUSE in line for line in lines)) == (0, True)
    assert CAUSE in failed[-1].user_attrs["failure_detail"]


class Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def update(self, study: LinkedStudy, workers: Iterable[pool.LocalWorker]) -> None:
        """Nobody watches."""


def test_start_begins_afresh_a_few_times(database: Database, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times, as with workers that a signal ended; then the last one's words are told."""
    starts, start = [], pool._popen

    def popen(command: list[str], *rest: object) -> object:
        starts.append(command)
        return start([sys.executable, "-c", f"print({CAUSE!r}); raise SystemExit({AFRESH})"], *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(pool, "_popen", popen)
    display = Lines()
    with pytest.raises(SearchError, match=f"every worker failed.*\n{CAUSE}"):
        pool.run_workers(opened(database), [Slot("cuda:0", 1)], None, display, StopRequest())
    assert len(starts) == 1 + pool.MOST_RESTARTS
    assert "its trial goes to another" in display.lines[0]
