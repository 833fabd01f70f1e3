"""Snapshots made of numbers, and a whole searched study in a database; nothing in them was trained."""

import math
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from search.analysis.caveats import caveats
from search.analysis.snapshot import Snapshot
from search.strategy.study_pruner import race_pruner
from search.study.cost import registry_of
from search.study.plan import Plan
from search.study.results import confirmed_among
from search.study.study import LinkedStudy, open_study
from storage.registry.workers import RegisteredWorker
from storage.server.database import Database
from tests.search.show import given

SEARCHED = (
    *("leaderboard", "transfer", "correlation", "importance", "slices", "depth"),
    *("latent", "speed", "curves", "history", "dollars", "workers"),
)
"""The figures that a searched study has."""
START = datetime(2026, 1, 1, 12)
"""As trials have it, without a zone; UTC here."""
EPOCH = 1767268800.0
"""The same in seconds since 1970."""
HOSTILE = '<b>x</b><img src=x onerror="document.title=1">'
"""A name that must stay a name."""
TEXT = """
description = '''{description}'''
[data]
source = "/home/somebody/secret-folder/text.parquet"
[space]
max_lr = {{ low = 1e-4, high = 1e-1, log = true }}
n_layer = {{ low = 1, high = 8 }}
batch_size = {{ choices = [8, 16, 32] }}
attention = {{ choices = ["full", "latent"] }}
projection_dim = {{ choices = [16, 32], when = {{ attention = "latent" }} }}
[proxy]
budget = "6m"
trials = {trials}
report_every = 10
[confirm]
budget = "30m"
[cost]
usd_per_gpu_hour = 0.6
[baselines.'{baseline}']
max_lr = 1e-3
n_layer = 2
batch_size = 8
attention = "full"
"""


def plan(*, trials: int = 24, baseline: str = "by-hand", description: str = "made of numbers") -> Plan:
    text = TEXT.format(trials=trials, baseline=baseline, description=description)
    return Plan.parse(text, name="made", origin="a test")


def params(i: int) -> dict[str, Any]:
    """Drawn at random, but always the same."""
    rng = random.Random(i)
    rate, depth, batch = 10 ** rng.uniform(-4, -1), rng.randint(1, 8), rng.choice((8, 16, 32))
    latent = {"attention": "latent", "projection_dim": (16, 32)[i % 4 // 2]} if i % 2 else {"attention": "full"}
    return {"max_lr": rate, "n_layer": depth, "batch_size": batch, **latent}


def made(
    of: Plan,
    number: int,
    bpb: float | None,
    values: Mapping[str, Any],
    *,
    state: TrialState = TrialState.COMPLETE,
    minutes: tuple[float, float] = (0, 6),
    reports: Mapping[int, float] | None = None,
    **attrs: Any,
) -> FrozenTrial:
    """A trial, trained from one minute after START to another."""
    trial = create_trial(
        state=state,
        value=bpb if state == TrialState.COMPLETE else None,
        params=dict(values),
        distributions={k: of.space.parameters[k].distribution() for k in values},
        intermediate_values=dict(reports or {}),
        user_attrs={"worker": "host-a/1", **attrs},
    )
    trial.number = number
    trial.datetime_start, end = (START + timedelta(minutes=m) for m in minutes)
    trial.datetime_complete = end if state.is_finished() else None
    return trial


def curve(bpb: float, until: int = 100) -> dict[int, float]:
    """Losses that fall to this one."""
    return {p: bpb + 0.8 * (100 - p) / 100 * math.exp(-p / 60) for p in range(10, until + 1, 10)}


def searched(of: Plan, n: int) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
    """Proxies whose BPB follows their learning rate, one of which is a baseline, and long runs of some."""
    proxies = [_proxy(of, i) for i in range(n)]
    done = sorted((t for t in proxies if t.state == TrialState.COMPLETE), key=lambda t: t.value or 0.0)
    baseline = next(iter(of.baselines))
    runs: list[FrozenTrial] = []
    for place, t in enumerate([proxies[0], *[t for t in done if t.number][:6]]):
        for seed in (100, 101) if place < 3 else (100,):
            whose: dict[str, Any] = {"baseline": baseline} if t.number == 0 else {"confirms": t.number}
            bpb = (t.value or 0.0) - 0.3 + 0.004 * (seed - 100) + 0.002 * (place % 2)
            begun = 6 * n + 30 * len(runs)
            attrs = whose | {"seed": seed, "kind": "top" if t.number else "baseline", "n_params": 10**6}
            attrs |= {"tokens_per_second": 9000.0, "train_seconds": 1700.0, "total_seconds": 1800.0}
            at = (begun, begun + 30)
            runs.append(made(of, len(runs), bpb, t.params, minutes=at, reports=curve(bpb), **attrs))
    return proxies, runs


def _proxy(of: Plan, i: int) -> FrozenTrial:
    values = params(i) if i else dict(next(iter(of.baselines.values())))
    bpb = 1.5 + 0.2 * abs(math.log10(values["max_lr"]) + 2.5) + 0.01 * (i % 5)
    at, attrs = (6 * i, 6 * i + 6), dict[str, Any]({"n_params": 500_000 * values["n_layer"], "tokens": 10**7 + i})
    attrs |= {"tokens_per_second": 30_000 // values["n_layer"], "train_seconds": 330.0, "total_seconds": 350.0}
    attrs["provenance"] = {"device": "A GPU", "host": "host-a", "torch": "2.11.0"}
    if i % 8 == 7:
        return made(of, i, None, values, state=TrialState.PRUNED, minutes=at, reports=curve(bpb, 30), **attrs)
    if i == 13:
        return made(of, i, None, values, state=TrialState.FAIL, minutes=at, failure="diverged")
    more = {"baseline": next(iter(of.baselines))} if i == 0 else {"control": i % 9 == 1}
    return made(of, i, bpb, values, minutes=at, reports=curve(bpb), **attrs, **more)


def entry(
    name: str = "host-a/1", *, minutes: float = 600.0, device: str = "A GPU", price: float = 0.6
) -> RegisteredWorker:
    """A worker that was there from START for so long."""
    return RegisteredWorker(
        name=name,
        machine=name.split("/")[0],
        launch="",
        device=device,
        reference=None,
        usd_per_hour=price,
        state="ended",
        silent_seconds=0.0,
        started=EPOCH,
        now=EPOCH + 60 * minutes,
        paid_seconds=60 * minutes,
    )


def snapshot_of(
    of: Plan,
    proxies: Sequence[FrozenTrial] = (),
    runs: Sequence[FrozenTrial] = (),
    *,
    workers: Sequence[RegisteredWorker] = (),
    slots: int | None = None,
    race_over: bool = True,
) -> Snapshot:
    """Return the snapshot of trials that are in no database."""
    pruner = race_pruner(of)
    return given.having(
        given.snapshot(of, proxies, runs, workers, race_over=race_over),
        pruner=pruner,
        relations=[pruner.relation(proxies, point) for point in of.report_points()[:-1]],
        caveats=caveats(of, proxies, confirmed_among(of, proxies, runs)),
        slots=of.proxy.trials if slots is None else slots,
    )


def stored(database: Database, of: Plan, n: int = 18) -> LinkedStudy:
    """The same study in a database; its queued baselines have made way for trials that ended."""
    study = open_study(database, of)
    for part in (study.proxies, study.confirmations):
        for waiting in part.get_trials(deepcopy=False):
            database.storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
            database.storage.set_trial_state_values(waiting._trial_id, TrialState.FAIL)
    proxies, runs = searched(of, n)
    for t in proxies:
        study.proxies.add_trial(t)
    for t in runs:
        if "confirms" in t.user_attrs:  # numbers begin after the baseline's that failed
            t.user_attrs["confirms"] += 1
        study.confirmations.add_trial(t)
    registry_of(study).register("host-a/1", machine="host-a", device="A GPU", usd_per_hour=0.6)
    return study
