"""What goes wrong around a run costs neither its result nor its worker: judges, disks, logins, takeovers."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from model.errors import CheckpointError
from model.formats import checkpoint
from search.common import paths
from search.worker.cost_guard import CostGuard
from search.worker.run_pruner import RunPruner
from storage.errors import LoginError
from storage.queue.trial_queue import Claim
from storage.server.database import Database
from tests.search.tiny import PLAN
from tests.search.worker.test_outages import Simulated, opened, worker

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

ONE_LONG_RUN = PLAN.replace("trials = 7", "trials = 1").replace("top = 1", "top = 0").replace("seeds = 2", "seeds = 1")
EXPIRED = """
    CREATE FUNCTION expired() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'this login has expired' USING ERRCODE = '28000'; END $$
"""


def test_a_judge_that_fails_is_no_reason_to_end_a_run(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(*args: object) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr(RunPruner, "_judge_proxy", judge)
    study, lines = opened(database), list[str]()
    worker(study, Simulated(), lines).run()
    (trial,) = study.proxy_trials()
    assert (trial.state, trial.value, trial.user_attrs["pruner"]) == (TrialState.COMPLETE, 1.25, "unjudged")
    assert any("trial 0: not judged: ValueError: no such thing" in line for line in lines)


def test_weights_that_no_disk_takes_cost_no_result(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(path: Path, *content: object) -> None:
        raise CheckpointError(f"{path}: can't be written: No space left on device")

    monkeypatch.setattr(checkpoint, "save", save)
    study, lines = opened(database, ONE_LONG_RUN), list[str]()
    worker(study, Simulated(), lines).run()
    (run,) = study.confirm_trials()
    assert (run.state, run.value) == (TrialState.COMPLETE, 1.25)
    assert any("has no weights" in line and "No space left" in line for line in lines)
    assert study.proxies.user_attrs["confirmed:baseline:by-hand"]["bpb"] == 1.25


def test_a_result_that_came_by_another_way_is_logged_back(database: Database, home: Path) -> None:
    """As of a worker that was killed after it told, or whose messages another delivered."""
    study = opened(database, ONE_LONG_RUN)
    taken = study.confirm_queue.claim("gone", None)
    assert isinstance(taken, Claim)
    assert study.confirm_queue.finish(taken.trial_id, TrialState.COMPLETE, 1.5)
    worker(study, Simulated()).run()
    assert study.proxies.user_attrs["confirmed:baseline:by-hand"]["bpb"] == 1.5


def test_a_login_that_expires_in_a_run_ends_the_worker_with_a_sentence_and_keeps_what_it_found(
    database: Database, home: Path
) -> None:
    on = "CREATE TRIGGER expired BEFORE INSERT ON trial_intermediate_values FOR EACH ROW EXECUTE FUNCTION expired()"

    def at(percent: int) -> None:
        if percent == 60:
            with database.engine.begin() as connection:
                connection.execute(sa.text(EXPIRED))
                connection.execute(sa.text(on))

    study, trainer = opened(database), Simulated(at)
    with pytest.raises(LoginError, match="refuses the login: this login has expired"):
        worker(study, trainer).run()
    assert trainer.passed == [[20, 40, 60]]  # no time is paid for what can't be told
    (trial,) = study.proxy_trials()
    assert (trial.state, sorted(trial.intermediate_values)) == (TrialState.RUNNING, [20, 40])
    (journal,) = paths.outbox("tiny").parent.rglob("*.jsonl")
    assert '"report": [60, 2.4]' in journal.read_text()


def test_a_trial_that_is_taken_over_before_it_is_noted_is_left(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = opened(database)
    taken: list[int] = []

    def record_claim(guard: CostGuard, claim: Claim) -> None:
        if not taken:
            taken.append(claim.trial_id)
            study.proxy_queue.fail(claim.trial_id, "lost")
            raise UpdateFinishedTrialError("ended")

    monkeypatch.setattr(CostGuard, "record_claim", record_claim)
    worker(study, Simulated()).run()
    lost, successor = study.proxy_trials()
    assert (lost.user_attrs["failure"], successor.state) == ("lost", TrialState.COMPLETE)
