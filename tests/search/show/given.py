"""Snapshots of studies made of numbers, without training."""

import copy
from collections.abc import Sequence
from typing import Any, cast

from optuna.trial import FrozenTrial, TrialState

from search.analysis.snapshot import Snapshot
from search.strategy.pruner import CorrelationPruner, Relation
from search.study.cost import Bill
from search.study.plan import Plan
from search.study.study import ReadStudy
from storage.registry.workers import RegisteredWorker
from tests.search.made import proxy

TEXT = """
[data]
source = "builtin"
[space]
max_lr = {{ low = 1e-4, high = 1e-1, log = true }}
[proxy]
budget = "6m"
trials = {trials}
report_every = 20
[confirm]
budget = "30m"
{confirm}
[cost]
usd_per_gpu_hour = 0.5
"""


def plan(trials: int = 4, confirm: str = "top = 1\nrandom = 0\nseeds = 2", more: str = "") -> Plan:
    """A study of proxies of 6 minutes and long runs of 30, without a baseline, at $0.5 an hour."""
    return Plan.parse(TEXT.format(trials=trials, confirm=confirm) + more, name="given", origin="a test")


def run(number: int, state: TrialState, bpb: float | None = None, step: int = 0, **attrs: Any) -> FrozenTrial:
    """A trial in this state, which last reported at this percent."""
    reports = {step: 2.0} if step else {}
    trial = proxy(number, bpb, {"max_lr": 1e-3 * (1 + number)}, reports, plan(), **attrs)
    trial.state = state
    return trial


def worker(
    name: str, *, started: float = 0.0, paid: float = 3600.0, state: str = "alive", usd: float = 0.5
) -> RegisteredWorker:
    """A worker that has been there for so long."""
    return RegisteredWorker(
        name=name,
        machine="box",
        launch="",
        device="GPU",
        reference=None,
        usd_per_hour=usd,
        state=state,
        silent_seconds=1.0,
        started=started,
        now=started + paid,
        paid_seconds=paid,
    )


def snapshot(
    of: Plan,
    proxies: Sequence[FrozenTrial] = (),
    runs: Sequence[FrozenTrial] = (),
    workers: Sequence[RegisteredWorker] = (),
    *,
    spent: float = 0.0,
    cap: float = 0.0,
    relations: Sequence[Relation] = (),
    race_over: bool = False,
) -> Snapshot:
    """Return the snapshot of such a study."""
    nothing, trials = cast(Any, None), (list(proxies), list(runs))
    study = ReadStudy(of, nothing, nothing, nothing, nothing, nothing, of.name, trials=trials, attributes=({}, {}))
    lost = {t.user_attrs["retries"] for t in proxies if "retries" in t.user_attrs}
    return having(
        Snapshot(study=study, workers=workers),
        bill=Bill(spent=spent, bound=0.0, cap=cap),
        pruner=CorrelationPruner(),
        relations=relations,
        caveats=[],
        pruning="",
        race="",
        standing={},
        hardware="",
        slots=len(proxies) - len(lost),
        race_over=race_over,
        affordable=None,
    )


def having(given: Snapshot, **computed: Any) -> Snapshot:
    """Return a copy of a snapshot with these values instead of computed ones."""
    snapshot = copy.copy(given)
    vars(snapshot).update(computed)
    return snapshot
