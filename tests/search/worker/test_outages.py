"""A worker whose database goes away in the middle of a run: training goes on, and nothing is lost or told twice."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
import torch
from optuna.trial import FrozenTrial, TrialState

from model.errors import DivergedError, StoppedError
from model.training.result import Report, Result
from search.common import paths
from search.common.signals import StopRequest
from search.strategy.pruner import PruningDecision
from search.study.plan import Plan
from search.study.study import LinkedStudy, open_study
from search.worker.run_pruner import RunPruner
from search.worker.worker import Worker
from storage.outbox import outbox
from storage.server import embedded as embedded_module
from storage.server.database import MOST_CONNECTIONS, Database, connect
from storage.server.embedded import _Server, _unprivileged
from tests.conftest import _open_folder, database_with_tables
from tests.outages import CalledOutage, Exhausted, Outage, Paused, Proxy, full_disk, read_only
from tests.search.processor import ONCE
from tests.search.tiny import PLAN

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

POINTS = (20, 40, 60, 80, 100)
SECONDS = 30.0
"""For anything to come to pass that takes a moment."""

ONE_PROXY = PLAN[: PLAN.index("[baselines")].replace("trials = 7", "trials = 1").replace("top = 1", "top = 0")


class Simulated:
    """A trainer without training: `at` is called before the report at each point, and says what befalls the run."""

    def __init__(self, at: Callable[[int], None] = lambda percent: None) -> None:
        self.at = at
        self.passed: list[list[int]] = []

    def __call__(self, *args: Any, on_report: Callable[[Report], bool], should_stop: Any, **more: Any) -> Result:
        self.passed.append([])
        reports: list[Report] = []
        for percent in POINTS:
            self.at(percent)
            if should_stop():
                raise StoppedError("stopped before the budget was spent")
            reports.append(simulated_report(percent))
            self.passed[-1].append(percent)
            if not on_report(reports[-1]):
                return simulated_result(reports, None)
        return simulated_result(reports, 1.25)


def simulated_report(percent: int) -> Report:
    return Report(percent=percent, val_bpb=3 - percent / 100, train_seconds=1, tokens=1, steps=1, learning_rate=1e-3)


def simulated_result(reports: list[Report], val_bpb: float | None) -> Result:
    times = dict.fromkeys(
        ("startup_seconds", "compile_seconds", "train_seconds", "evaluate_seconds", "total_seconds"), 1.0
    )
    return Result(
        val_bpb=val_bpb,
        reports=tuple(reports),
        network=None,  # type: ignore[arg-type]
        n_params=1,
        n_active_params=1,
        steps=1,
        tokens=1,
        micro_batch=1,
        mode="simulated",
        precision="float32",
        mfu=0.0,
        **times,
    )


def opened(database: Database, text: str = ONE_PROXY) -> LinkedStudy:
    return open_study(database, Plan.parse(text, name="tiny", origin="test"))


def worker(study: LinkedStudy, trainer: Callable[..., Result], lines: list[str] | None = None, **more: Any) -> Worker:
    say = (lambda line: None) if lines is None else lines.append
    return Worker(study, "one", torch.device("cpu"), more.pop("stop", StopRequest()), say, trainer, **ONCE | more)


def arrival(database: Database, trial: FrozenTrial) -> list[int]:
    rows = "SELECT step FROM trial_intermediate_values WHERE trial_id = :t ORDER BY trial_intermediate_value_id"
    with database.engine.connect() as connection:
        return list(connection.execute(sa.text(rows), {"t": trial._trial_id}).scalars())


@pytest.fixture(scope="module")
def own_server() -> Iterator[tuple[_Server, Path]]:
    """A server that nobody else minds losing."""
    folder = _open_folder()
    server = _Server(folder / "postgres", _unprivileged())
    server.make_reachable()
    server.ensure_running()
    yield server, folder / "postgres" / "data"
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def proxy(own_server: tuple[_Server, Path]) -> Iterator[Proxy]:
    port = sa.make_url(own_server[0].ensure_running()).port
    assert port is not None
    wire = Proxy(port)
    yield wire
    wire.close()


OUTAGES = ["stopped", "paused", "cut", "clogged", "exhausted", "full disk", "read only"]


def start_again(server: _Server, port: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded_module, "_free_port", lambda: port)
        server.ensure_running()


def outage_of(kind: str, own_server: tuple[_Server, Path], url: str, database: Database, proxy: Proxy) -> Outage:
    server, data = own_server
    outages: dict[str, Callable[[], Outage]] = {
        "stopped": lambda: CalledOutage(server.stop, lambda: start_again(server, proxy.target)),
        "paused": lambda: Paused(data),
        "cut": lambda: CalledOutage(proxy.cut, proxy.mend),
        "clogged": lambda: CalledOutage(proxy.clog, proxy.unclog),
        "exhausted": lambda: Exhausted(database),
        "full disk": lambda: full_disk(url),
        "read only": lambda: read_only(url),
    }
    return outages[kind]()


@pytest.mark.parametrize("kind", OUTAGES)
def test_training_goes_on_and_reports_arrive_in_order_and_once(
    kind: str, own_server: tuple[_Server, Path], proxy: Proxy, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is away from before the report at 40% until after the one at 60%, which the run reaches meanwhile."""
    monkeypatch.setattr(outbox, "LONGEST_PAUSE_SECONDS", outbox.FIRST_PAUSE_SECONDS)
    url = database_with_tables(own_server[0].ensure_running())
    database = connect(proxy.url(url))
    study = opened(database)
    outage = outage_of(kind, own_server, url, database, proxy)
    trainer = Simulated(lambda percent: {40: outage.begin, 80: outage.end}.get(percent, lambda: None)())
    lines: list[str] = []
    worker(study, trainer, lines, patience_seconds=0.05).run()
    assert trainer.passed == [list(POINTS)]
    (trial,) = study.proxy_trials()
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 1.25)
    assert trial.intermediate_values == {p: pytest.approx(3 - p / 100) for p in POINTS}
    assert arrival(database, trial) == list(POINTS)
    assert trial.user_attrs["mode"] == "simulated"
    assert lines[-1] == "nothing left to do"
    assert not any(paths.outbox(study.folder).glob("*"))
    database.close()


def unreachable() -> sa.exc.OperationalError:
    return sa.exc.OperationalError("", {}, psycopg2.OperationalError("connection refused"))


def test_a_verdict_that_is_not_to_be_had_lets_the_run_go_on(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(*args: Any) -> PruningDecision:
        raise unreachable()

    monkeypatch.setattr(RunPruner, "_judge_proxy", judge)
    study = opened(database)
    worker(study, Simulated()).run()
    (trial,) = study.proxy_trials()
    assert (trial.state, trial.user_attrs["pruner"]) == (TrialState.COMPLETE, "unreachable")


@pytest.mark.parametrize("next_verdict", [None, PruningDecision(False, "promising")])
def test_a_verdict_to_prune_that_comes_late_counts_at_the_next_report(
    next_verdict: PruningDecision | None, database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of 20% comes once the run has gone on, and prunes at 40%, where there is none or one that lets it go on."""
    gone_on = threading.Event()

    def judge(self: RunPruner, trial: FrozenTrial, percent: int) -> PruningDecision:
        if percent > 20:
            if next_verdict is None:
                raise unreachable()
            return next_verdict
        assert gone_on.wait(SECONDS)
        return PruningDecision(True, "hopeless")

    def at(percent: int) -> None:
        if percent == 40:
            gone_on.set()
            assert one.outbox.wait(SECONDS)

    monkeypatch.setattr(RunPruner, "_judge_proxy", judge)
    study = opened(database)
    trainer = Simulated(at)
    one = worker(study, trainer, patience_seconds=0.05)
    one.run()
    (trial,) = study.proxy_trials()
    assert trainer.passed == [[20, 40]]
    assert (trial.state, trial.user_attrs["pruner"]) == (TrialState.PRUNED, "hopeless")
    assert list(trial.intermediate_values) == [20, 40]


def test_a_worker_that_was_taken_over_stops_quietly_and_goes_on_with_another(database: Database, home: Path) -> None:
    study = opened(database)
    lines: list[str] = []

    def at(percent: int) -> None:
        if percent == 40 and len(trainer.passed) == 1:
            study.proxy_queue.fail(study.proxy_trials()[0]._trial_id, "lost")

    trainer = Simulated(at)
    worker(study, trainer, lines).run()
    assert trainer.passed == [[20, 40], list(POINTS)]  # it finds out by its report at 40%
    lost, again = study.proxy_trials()
    assert (lost.state, list(lost.intermediate_values)) == (TrialState.FAIL, [20])
    assert (again.state, again.user_attrs["retries"], again.params) == (TrialState.COMPLETE, 0, lost.params)
    assert again.user_attrs["tries"] == 2
    assert "trial 0: taken over by another worker" in lines
    assert not any("error" in line or "interrupted" in line for line in lines)


def test_notice_hands_the_trial_back_while_the_trainer_hears_nothing(database: Database, home: Path) -> None:
    """As in a compilation: the trainer returns long after the trial went to another."""
    study, stop = opened(database), StopRequest()
    handed_back = threading.Event()

    def deaf(*args: Any, **more: Any) -> Result:
        stop.ask()
        for _ in range(int(SECONDS * 20)):
            if [t.state for t in study.proxies.get_trials()] == [TrialState.FAIL, TrialState.WAITING]:
                handed_back.set()
                break
            stopped.wait(0.05)
        return simulated_result([simulated_report(100)], 1.25)

    stopped = threading.Event()
    lines: list[str] = []
    worker(study, deaf, lines, stop=stop, stop_seconds=0.05).run()
    assert handed_back.is_set()
    interrupted, again = study.proxy_trials()
    assert interrupted.user_attrs["failure"] == "interrupted"
    assert (again.state, again.user_attrs["tries"]) == (TrialState.WAITING, 1)
    assert interrupted.value is None


def test_threads_of_a_worker_share_a_few_connections(
    database_url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a whole study, promotion with its two locks included, this process never has more of them open."""
    connections: list[Any] = []
    most = 0
    real = psycopg2.connect

    def counting(*args: Any, **more: Any) -> Any:
        nonlocal most
        connections.append(real(*args, **more))
        most = max(most, sum(not c.closed for c in connections))
        return connections[-1]

    monkeypatch.setattr(psycopg2, "connect", counting)
    database = connect(database_url)
    text = PLAN.replace("heartbeat_seconds = 0.5", "heartbeat_seconds = 0.01")
    study = opened(database, text.replace("trials = 7", "trials = 4"))

    def diverging(*args: Any, budget_seconds: float, **more: Any) -> Result:
        if budget_seconds > 1:
            raise DivergedError("a long run")
        return Simulated()(*args, **more)

    worker(study, diverging).run()
    assert [t.state for t in study.proxy_trials()] == [TrialState.COMPLETE] * 4
    assert [t.user_attrs["failure"] for t in study.confirm_trials()] == ["diverged"] * 2
    assert 2 <= most <= MOST_CONNECTIONS
    database.close()
