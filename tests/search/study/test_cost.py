"""The cost cap: counted by hand, raced for by threads, and kept by a fleet whose hours are simulated."""

import heapq
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import sqlalchemy as sa
import torch
from optuna.trial import TrialState

from search.analysis.snapshot import read
from search.common.errors import SearchError, StudyFileError
from search.common.signals import StopRequest
from search.machine.hardware import Hardware
from search.show.status.panels import cost as cost_lines
from search.show.status.study_overview import study_overview
from search.study import cost as spending
from search.study.cost import bill, registry_of, study_bill
from search.study.plan import Plan
from search.study.requested import with_cap
from search.study.study import LinkedStudy, load_study, open_study
from search.worker import registration
from search.worker.cost_guard import CostGuard
from search.worker.worker import Worker
from storage.queue.trial_queue import Claim, NoClaim
from storage.registry.workers import Registry
from storage.server.database import Database, connect
from tests.search import raced
from tests.search.processor import ONCE
from tests.search.raced import in_threads
from tests.search.tiny import NETWORK
from tests.server_clock import ServerClock

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
PRICE = 0.5


def capped(max_usd: float, *, trials: int = 400, confirm: str = "") -> Plan:
    """A study of 6-minute proxies and 30-minute confirmations at $0.5 an hour; nothing is stale for hours."""
    text = raced.TEXT.format(confirm=confirm, baseline=0.1, proxy="", pruner="")
    text = text.replace("trials = 12", f"trials = {trials}")
    text = text.replace('"builtin"', '"builtin"\nholdout_period = 16\nholdout_rows = 1')
    text = text.replace("usd_per_gpu_hour = 0.5", f"usd_per_gpu_hour = {PRICE}\nmax_usd = {max_usd}")
    return Plan.parse(text + "[workers]\ngrace_seconds = 100_000\n" + NETWORK, name="capped", origin="a test")


def enter(registry: Registry, name: str, price: float = PRICE) -> str:
    registry.register(name, machine=name, device="GPU", usd_per_hour=price)
    return name


def take(study: LinkedStudy, guard: CostGuard, name: str) -> Claim | NoClaim:
    """Claim a proxy as a worker does."""
    taken = study.proxy_queue.claim(name, study.plan.proxy.trials, "", guard.permit(study.plan.proxy))
    if isinstance(taken, Claim):
        guard.record_claim(taken)
    return taken


def finish(study: LinkedStudy, claim: Claim, train: float, overhead: float) -> None:
    storage = study.database.storage
    for key, seconds in (("train_seconds", train), ("total_seconds", train + overhead)):
        storage.set_trial_user_attr(claim.trial_id, key, seconds)
    assert study.proxy_queue.finish(claim.trial_id, TrialState.COMPLETE, 1.0)


def test_a_bill_by_hand(database: Database) -> None:
    """Two workers for half an hour at $0.5 and $1: $0.75. One runs since 2 min: 4 min and 30 s overhead are to come.

    Another's trial, of a worker that no registry knew, took 36 min at the study's price: $0.30.
    """
    study = open_study(database, capped(10))
    clock, registry = ServerClock(database), registry_of(study)
    cheap, dear = (enter(registry, n, p) for n, p in (("cheap", 0.5), ("dear", 1.0)))
    old = study.proxy_queue.claim("before the registry", 400)
    assert isinstance(old, Claim)
    finish(study, old, train=2130, overhead=30)
    clock.set(1680)
    assert isinstance(take(study, CostGuard(study, dear), dear), Claim)
    clock.set(1800)
    registry.seen(cheap)
    registry.seen(dear)
    current = study_bill(study)
    assert current.spent == pytest.approx(0.25 + 0.5 + 0.3)
    assert current.bound == pytest.approx(1.0 * (240 + 30) / 3600)
    assert current.cap == 10
    assert bill(study, [], 10).spent == pytest.approx(0.3)


def test_a_slower_machines_longer_budget_counts(database: Database) -> None:
    """Twice as long is $0.10: one fits under 16 cents, a second only at $0.05."""
    study = open_study(database, capped(0.16))
    ServerClock(database)
    slow, quick = (enter(registry_of(study), n) for n in ("slow", "quick"))
    guard = CostGuard(study, slow)
    guard.record_speed(10_000, 2.0)
    assert isinstance(take(study, guard, slow), Claim)
    assert study_bill(study).bound == pytest.approx(0.10)
    assert take(study, guard, slow) is NoClaim.REFUSED
    assert isinstance(take(study, CostGuard(study, quick), quick), Claim)
    assert {e.name: e.reference for e in registry_of(study).workers()} == {"slow": 10_000, "quick": None}


@dataclass
class Fleet:
    """Workers with prices of their own whose runs take their budget, or less, and an overhead; some are killed."""

    study: LinkedStudy
    clock: ServerClock
    draw: random.Random
    events: list[tuple[float, int]] = field(default_factory=list)
    crew: dict[int, dict[str, Any]] = field(default_factory=dict)
    dollars: float = 0.0
    """By the simulation's own count: hours of each from start to end, times its price."""

    def run(self) -> None:
        for index in range(5):
            self.join(float(index), index)
        while self.events:
            now, index = heapq.heappop(self.events)
            self.clock.set(now)
            for mate in self.crew.values():
                registry_of(self.study).seen(mate["name"])
            self.step(now, index)

    def join(self, now: float, index: int) -> None:
        self.clock.set(now)
        price = self.draw.uniform(0.3, 0.9)
        name = enter(registry_of(self.study), f"w{index}", price)
        self.crew[index] = {
            "name": name,
            "price": price,
            "began": now,
            "guard": CostGuard(self.study, name),
            "run": None,
        }
        heapq.heappush(self.events, (now, index))

    def leave(self, now: float, index: int) -> None:
        mate = self.crew.pop(index)
        self.dollars += (now - mate["began"]) / 3600 * mate["price"]

    def step(self, now: float, index: int) -> None:
        mate = self.crew[index]
        registry = registry_of(self.study)
        if mate["run"] and self.draw.random() < 0.1:
            assert registry.give_up(mate["name"])
            assert self.study.proxy_queue.release_worker(mate["name"]) == 1
            self.leave(now, index)
            return self.join(now, index + 100)
        if mate["run"]:
            finish(self.study, *mate["run"])
        taken = take(self.study, mate["guard"], mate["name"])
        if isinstance(taken, Claim):
            share = self.draw.choice([1.0, 1.0, self.draw.random()])  # of three, one is pruned
            mate["run"] = (taken, 360 * share, self.draw.uniform(0, MOST_OVERHEAD))
            return heapq.heappush(self.events, (now + sum(mate["run"][1:]), index))
        assert taken is NoClaim.REFUSED
        assert registry.end(mate["name"])
        return self.leave(now, index)


MOST_OVERHEAD = 60.0


@pytest.mark.parametrize("seed", [1, 2])
def test_a_fleet_spends_its_cap_and_no_more_than_the_overhead_beyond_it(database: Database, seed: int) -> None:
    """At the last refusal less than the next run's price is unspent: the cap doesn't hold merely by doing nothing."""
    cap = 1.5
    study = open_study(database, capped(cap))
    fleet = Fleet(study, ServerClock(database), random.Random(seed))
    fleet.run()
    assert fleet.dollars == pytest.approx(study_bill(study).spent)
    assert fleet.dollars <= cap + 5 * 0.9 * MOST_OVERHEAD / 3600
    assert fleet.dollars > cap - 0.9 * (360 + MOST_OVERHEAD) / 3600
    assert study_bill(study).bound == 0


def test_racing_workers_do_not_share_the_last_dollars(database: Database, database_url: str) -> None:
    """Runs of both kinds, 5 and 25 cents, claimed by six workers at once, none of which ends: never above the cap."""
    cap = 0.62
    study = open_study(database, capped(cap))
    ServerClock(database)  # which stands still: what is claimed is all there is to pay
    for seed in range(20):
        study.confirm_queue.enqueue({"max_lr": 0.01, "batch_size": 8}, {"seed": seed, "budget": "30m"})
    start = threading.Barrier(6)

    def work(index: int) -> None:
        own = connect(database_url)
        study = load_study(own, "capped")
        name = enter(registry_of(study), f"w{index}")
        queue, fidelity = (
            (study.proxy_queue, study.plan.proxy) if index % 3 else (study.confirm_queue, study.plan.confirm)
        )
        allowed = CostGuard(study, name).permit(fidelity)
        start.wait()
        while isinstance(queue.claim(name, 400, "", allowed), Claim):
            pass
        own.close()

    in_threads(work)
    running = [
        sum(t.state == TrialState.RUNNING for t in trials) for trials in (study.proxy_trials(), study.confirm_trials())
    ]
    bound = study_bill(study).bound
    assert bound == pytest.approx(0.05 * running[0] + 0.25 * running[1])
    assert cap - 0.05 < bound <= cap


def test_while_one_queue_counts_dollars_the_other_waits(database: Database, database_url: str) -> None:
    study = open_study(database, capped(1))
    study.confirm_queue.enqueue({"max_lr": 0.01, "batch_size": 8}, {"seed": 1})
    counting, done = threading.Event(), threading.Event()
    seen: list[bool] = []

    def count(attrs: Mapping[str, Any]) -> bool:
        """Look, while being asked, until the other queue's claim waits for a lock, or has come through."""
        counting.set()
        waits = False
        while not waits and not done.is_set():
            waits = _waits_for_a_lock(database)
        seen.append(waits)
        return True

    def claim_other() -> None:
        counting.wait()
        own = connect(database_url)
        load_study(own, "capped").confirm_queue.claim("two", None)
        done.set()
        own.close()

    other = threading.Thread(target=claim_other)
    other.start()
    assert isinstance(study.proxy_queue.claim("one", 400, "", count), Claim)
    other.join()
    assert seen == [True]


def _waits_for_a_lock(database: Database) -> bool:
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with database.engine.connect() as connection:
        return bool(connection.execute(sa.text(waiting)).scalar_one())


def test_a_worker_says_why_it_takes_no_more_and_ends(database: Database, home: Any) -> None:
    study = open_study(database, capped(0.04))
    lines: list[str] = []
    Worker(study, "one", torch.device("cpu"), StopRequest(), lines.append, _never, **AT_ONCE).run()
    assert [line for line in lines if "cost cap" in line] == [
        "cost cap: $0.00 spent, $0.00 bound by runs under way, $0.05 for the next run: more than max_usd, $0.04. "
        "`lilm-search start --study capped --max-usd N` raises it."
    ]
    assert not any(t.state == TrialState.RUNNING for t in study.proxy_trials())


def said_of_the_cap(study: LinkedStudy) -> tuple[list[str], str]:
    """What a study's overview warns of, and its line of hours and dollars."""
    overview = study_overview(read(study))
    line = " ".join(text.plain for text in cost_lines(overview, 80))
    return [w.sentence for w in overview.warnings if w.kind == "cap"], line


def test_status_says_what_the_cap_stops(database: Database) -> None:
    study = open_study(database, capped(0.04))
    (refused,), line = said_of_the_cap(study)
    assert refused.startswith("cost cap: $0.00 spent, $0.00 bound by runs under way, $0.05 for the next run")
    assert "$0.00 of about $0.04 (cap $0.04)" in line
    raised = open_study(database, with_cap(database, capped(0), 1.0))
    assert said_of_the_cap(raised)[0] == []
    free = open_study(database, with_cap(database, capped(0), 0.0))
    assert said_of_the_cap(free)[0] == []
    assert "(cap" not in said_of_the_cap(free)[1]


def test_waiting_ends_where_no_run_fits_any_more(database: Database, home: Any) -> None:
    """Another trains the only proxy for $0.05 of $0.08: whoever waits for the race would only cost."""
    study = open_study(database, capped(0.08, trials=1))
    enter(registry_of(study), "busy")
    assert isinstance(take(study, CostGuard(study, "busy"), "busy"), Claim)
    taken = [t for t in study.confirm_trials() if t.state == TrialState.WAITING]
    for trial in taken:
        study.database.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    lines: list[str] = []
    Worker(study, "idle", torch.device("cpu"), StopRequest(), lines.append, _never, **AT_ONCE).run()
    assert "cost cap" in lines[-1]


def _hardware(device: torch.device, compiled: bool) -> Hardware:
    return Hardware(kind="cpu", name="a processor", threads=1, reference_tokens_per_second=20_000.0)


AT_ONCE = ONCE | {"detect_hardware": _hardware}


def _never(*args: Any, **options: Any) -> Any:
    pytest.fail("nothing may be trained")


def test_a_cap_that_is_raised_holds_for_workers_that_run(database: Database) -> None:
    study = open_study(database, capped(0.04))
    guard = CostGuard(study, "one")
    assert take(study, guard, "one") is NoClaim.REFUSED
    open_study(database, with_cap(database, capped(0), 1.0))
    assert isinstance(take(study, guard, "one"), Claim)


def test_a_cap_stays_until_it_is_taken_away(database: Database) -> None:
    open_study(database, with_cap(database, capped(0), 7.0))
    assert with_cap(database, capped(0), None).cost.max_usd == 7.0
    assert with_cap(database, capped(3), None).cost.max_usd == 3.0
    assert with_cap(database, capped(0), 0.0).cost.max_usd == 0.0


def test_a_launchs_price_stays_with_its_cap(database: Database) -> None:
    free = replace(capped(0), cost=replace(capped(0).cost, usd_per_gpu_hour=0.0))
    open_study(database, with_cap(database, free, 5.0, price=0.35))
    again = with_cap(database, free, None)
    assert (again.cost.max_usd, again.cost.usd_per_gpu_hour) == (5.0, 0.35)
    assert with_cap(database, free, None, price=0.5).cost.usd_per_gpu_hour == 0.5


def test_a_cap_that_the_file_changes_is_reported(database: Database) -> None:
    lines: list[str] = []
    open_study(database, with_cap(database, capped(3), 7.0, say=lines.append))
    with_cap(database, capped(3), 7.0, say=lines.append)
    assert lines == []
    with_cap(database, capped(3), None, say=lines.append)
    assert lines == ["note: the cap was $7.00 and is $3.00 now, the study file's; --max-usd 7 keeps it"]


@pytest.mark.parametrize("section", ["cost", "confirm"])
def test_a_cap_without_a_price_is_refused(database: Database, section: str) -> None:
    extra = "max_usd = 5" if section == "confirm" else ""
    text = raced.TEXT.format(confirm=extra, baseline=0.1, proxy="", pruner="")
    cap = "\nmax_usd = 5" if section == "cost" else ""
    with pytest.raises(StudyFileError, match=rf"\[{section}\] `max_usd` is 5, but \[cost\] `usd_per_gpu_hour` is 0"):
        Plan.parse(text.replace("usd_per_gpu_hour = 0.5", "usd_per_gpu_hour = 0" + cap), name="x", origin="a test")
    free = Plan.parse(
        raced.TEXT.format(confirm="", baseline=0.1, proxy="", pruner="").replace("0.5", "0"), name="x", origin="a test"
    )
    with pytest.raises(StudyFileError, match="--max-usd"):
        with_cap(database, free, 5.0)


def test_a_worker_is_entered_with_its_machines_price(database: Database) -> None:
    study = open_study(database, capped(5))
    rented = {"LILM_SEARCH_USD_PER_HOUR": "0.34", "LILM_SEARCH_LAUNCH": "babylm-1"}
    with registration.registered(study, "host/1", torch.device("cpu"), rented):
        (entry,) = registry_of(study).workers()
        assert (entry.name, entry.launch, entry.usd_per_hour, entry.state) == ("host/1", "babylm-1", 0.34, "alive")
    with registration.registered(study, "host/2", torch.device("cpu"), {}):
        assert registry_of(study).workers()[1].usd_per_hour == PRICE
    for wrong in ("free", "-1", "nan", "inf"):
        with (
            pytest.raises(SearchError, match=f'LILM_SEARCH_USD_PER_HOUR is "{wrong}"'),
            registration.registered(study, "host/3", torch.device("cpu"), {"LILM_SEARCH_USD_PER_HOUR": wrong}),
        ):
            pass
    with (
        pytest.raises(SearchError, match="max_usd is 5, but an hour of this worker costs 0 dollars"),
        registration.registered(study, "host/3", torch.device("cpu"), {"LILM_SEARCH_USD_PER_HOUR": "0"}),
    ):
        pass
    assert len(registry_of(study).workers()) == 2


def test_the_overhead_is_what_finished_runs_had_on_average(database: Database) -> None:
    study = open_study(database, capped(0))
    for overhead in (10.0, 30.0):
        taken = study.proxy_queue.claim("w", 400)
        assert isinstance(taken, Claim)
        finish(study, taken, 360, overhead)
    assert spending.overhead_seconds(study.proxy_trials()) == pytest.approx(20)
    assert spending.run_usd(study.proxy_trials(), 360, PRICE) == pytest.approx(380 / 3600 * PRICE)
