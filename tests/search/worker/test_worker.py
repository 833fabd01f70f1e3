"""What a worker asks the trainer for."""

from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from optuna.trial import TrialState

from model.config import TrainConfig
from model.errors import DivergedError
from search.common.signals import StopRequest
from search.strategy.entrants import Entrant
from search.study.plan import Plan
from search.study.study import open_study
from search.worker import worker
from storage.queue.trial_queue import Claim, NoClaim
from storage.server.database import Database
from tests.search.processor import ONCE
from tests.search.tiny import PLAN


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(("schedule", "horizon"), [("whole", None), ("prefix", 2.0)])
def test_prefixes_follow_the_confirmations_schedule(
    schedule: str, horizon: float | None, database: Database, home: Path
) -> None:
    """Proxies of 1 s get the horizon of the confirmations, 2 s; confirmations and whole proxies have their own."""
    asked: list[tuple[float, float | None]] = []

    def train(*args: Any, budget_seconds: float, horizon_seconds: float | None, **options: Any) -> NoReturn:
        asked.append((budget_seconds, horizon_seconds))
        raise DivergedError("enough")

    text = PLAN.replace("trials = 7", f'trials = 2\nschedule = "{schedule}"')
    study = open_study(database, Plan.parse(text, name="tiny", origin="test"))
    worker.Worker(study, "one", torch.device("cpu"), StopRequest(), lambda line: None, train, **ONCE).run()
    assert asked == [(1.0, horizon)] * 2 + [(2.0, None)]  # a long run that diverges ends its candidate's race


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_run_of_the_race_has_its_rungs_budget_and_its_scaled_rate(database: Database, home: Path) -> None:
    asked: list[tuple[float, float, int]] = []

    def train(
        model: object, training: TrainConfig, *args: Any, budget_seconds: float, seed: int, **more: Any
    ) -> NoReturn:
        asked.append((training.max_lr, budget_seconds, seed))
        raise DivergedError("enough")

    study = open_study(database, Plan.parse(PLAN.replace("trials = 7", "trials = 1"), name="tiny", origin="test"))
    entry = Entrant("top", None, 0, 0.5, {"max_lr": 8e-3, "head_dim": 8, "batch_size": 4})
    study.confirm_queue.enqueue(dict(entry.params), entry.attrs(102, "1.5s"), {"kind": "top"})
    worker.Worker(study, "one", torch.device("cpu"), StopRequest(), lambda line: None, train, **ONCE).run()
    assert asked == [(1e-2, 1.0, 0), (1e-2, 2.0, 100), (4e-3, 1.5, 102), (4e-3, 2.0, 100)]


@pytest.mark.parametrize(("budget", "seconds"), [(1, 1), (72, 2), (360, 10), (3600, 10)])
def test_idle_workers_ask_seldom_but_promptly_in_short_studies(budget: float, seconds: float) -> None:
    assert worker.waiting_seconds(budget) == seconds


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_worker_stays_when_the_last_run_ends_while_it_asks(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One asks, and nothing is due since a first run is under way; it ends before the other question is asked."""
    study = open_study(database, Plan.parse(PLAN.replace("trials = 7", "trials = 1"), name="tiny", origin="test"))
    proxy = study.proxy_queue.claim("other", 1)
    long = study.confirm_queue.claim("other", None)
    assert isinstance(proxy, Claim)
    assert isinstance(long, Claim)
    study.proxy_queue.finish(proxy.trial_id, TrialState.COMPLETE, 2.0)
    claim = study.confirm_queue.claim

    def claim_late(*args: Any, **options: Any) -> Claim | NoClaim:
        study.confirm_queue.finish(long.trial_id, TrialState.COMPLETE, 1.9)
        return claim(*args, **options)

    monkeypatch.setattr(study.confirm_queue, "claim", claim_late)
    asking = worker.Worker(study, "one", torch.device("cpu"), StopRequest(), lambda line: None)
    assert asking._claim()[1] is NoClaim.WAIT
    assert isinstance(asking._claim()[1], Claim)
