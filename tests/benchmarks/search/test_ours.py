"""A replayed study is a study: what it does in memory and simulated time is what a real database gives."""

import optuna
import pytest
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from search.study.plan import Plan
from search.study.study import LinkedStudy, open_study
from storage.queue.trial_queue import TrialQueue
from storage.server.database import Database
from tests.benchmarks.search import ours
from tests.benchmarks.search.answers import Answers
from tests.benchmarks.search.made_up import SCALE, table
from tests.benchmarks.search.memory import GIVEN, MemoryDatabase, TableStorage, memory_queue
from tests.benchmarks.search.trainer import PREFIX_REPEAT

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # as the commands do
WORKERS = 3


def answers(replay: int = 0, noise: float = 0.05) -> Answers:
    return Answers(table(80, noise=noise), SCALE, replay)


def plan(told: Answers, long_runs: float = 8) -> Plan:
    text = ours.study_file(told.table.study, long_runs, told.replay, len(told.table.rows) - ours.SPARE_ROWS)
    return Plan.parse(text, name="replay", origin="the table's study")


def in_memory(told: Answers) -> LinkedStudy:
    with ours.without_servers(memory_queue()):
        study: LinkedStudy = open_study(MemoryDatabase(TableStorage(told)), plan(told))  # type: ignore[arg-type]
        ours.work(study, told, WORKERS)
    return study


@pytest.fixture(scope="module")
def replayed() -> LinkedStudy:
    """The study of `answers()` in memory, for tests that only read it."""
    return in_memory(answers())


def in_postgres(told: Answers, database: Database, monkeypatch: pytest.MonkeyPatch) -> LinkedStudy:
    storage: BaseStorage = database.storage
    keep = storage.set_trial_system_attr

    def settle(trial_id: int, key: str, value: object) -> None:
        keep(trial_id, key, dict(told.nearest(value).params) if key == GIVEN else value)  # type: ignore[arg-type]

    monkeypatch.setattr(storage, "set_trial_system_attr", settle)
    with ours.without_servers(TrialQueue):
        study = open_study(database, plan(told))
        ours.work(study, told, WORKERS)
    return study


def told_of(trials: list[FrozenTrial]) -> list[tuple[object, ...]]:
    kept = ("worker", "control", "baseline", "confirms", "seed", "kind", "why", "sampler", "pruner", "failure")
    return [
        (t.number, t.state, t.values, t.params, t.intermediate_values, [t.user_attrs.get(k) for k in kept])
        for t in trials
    ]


def test_a_study_in_memory_is_the_one_that_postgres_gives(
    replayed: LinkedStudy, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, real = replayed, in_postgres(answers(), database, monkeypatch)
    assert told_of(memory.proxy_trials()) == told_of(real.proxy_trials())
    assert told_of(memory.confirm_trials()) == told_of(real.confirm_trials())
    assert len(memory.proxy_trials()) > 20  # whole ones that the hours would have bought: what pruning saves buys more
    assert len(memory.confirm_trials()) >= 3


def test_money_is_what_runs_took(replayed: LinkedStudy) -> None:
    last = [t.last_step or 0 for t in replayed.proxy_trials()], [t.last_step or 0 for t in replayed.confirm_trials()]
    seconds = 360 * sum(last[0]) / 100 + 1800 * sum(last[1]) / 100
    found = ours.search(answers(), 8, WORKERS)
    assert found.seconds == pytest.approx(seconds)
    assert found.seconds <= 8 * 1800
    assert (found.short, found.long) == (len(last[0]), len(last[1]))


def test_configurations_are_rows_and_none_is_tried_twice(replayed: LinkedStudy) -> None:
    told = answers()
    rows = [told.row(t.params).number for t in replayed.proxy_trials()]
    assert len(set(rows)) == len(rows) > 20


def test_a_proxy_is_the_first_part_of_a_long_run_that_no_confirmation_has(replayed: LinkedStudy) -> None:
    """A table's curve falls by 0.1 a twentieth: a fifth's end lies 1.6 above the end of the run that it begins."""
    told = answers()
    proxies = [t for t in replayed.proxy_trials() if t.state == TrialState.COMPLETE]
    assert len({100 * t.value for t in proxies if t.value}) > 5
    for trial in proxies:
        row = told.row(trial.params)
        assert trial.value == pytest.approx(told.long(row, PREFIX_REPEAT).final + 1.6)
        assert list(trial.intermediate_values) == [25, 50, 75, 100]


@pytest.mark.parametrize("replay", range(3))
def test_the_export_is_the_best_of_the_long_runs(replay: int) -> None:
    told = answers(replay, noise=0.0)
    study = in_memory(told)
    runs = [told.row(t.params) for t in study.confirm_trials() if t.value is not None]
    assert told.table.rows[0] in runs  # the baseline
    found = ours.search(answers(replay, noise=0.0), 8, WORKERS)
    assert found.export == min(runs, key=lambda r: r.mean)
    assert [e.row for e in found.ranking] == [number for _, number in sorted({(r.mean, r.number) for r in runs})]
    assert all(bpb == pytest.approx(told.table.rows[e.row].mean) for e in found.ranking for bpb in e.bpb)


@pytest.mark.parametrize(
    ("budget", "schedule", "message"),
    [("5m", "whole", "budget is 300 s"), ("5m", "prefix", "first part of 300 s"), ("3m", "whole", "budget is 180 s")],
)
def test_budgets_that_the_table_has_not_are_refused(budget: str, schedule: str, message: str) -> None:
    told = answers()
    text = ours.study_file(told.table.study, 8, 0, 60).replace('budget = "6m"', f'budget = "{budget}"')
    text = text.replace('schedule = "prefix"', f'schedule = "{schedule}"')
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with ours.without_servers(memory_queue()):
        database = MemoryDatabase(TableStorage(told))
        study = open_study(database, Plan.parse(text, name="r", origin=""))  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match=message):
            ours.work(study, told, 1)
