"""A study with something of everything that the dashboard shows, in a real database; nothing in it was trained."""

from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.study.plan import Plan
from search.study.study import LinkedStudy, open_study
from storage.server.database import Database
from tests.search.made import proxy

NASTY = "*bold* ![x](http://192.0.2.1/x.png) | $a$ <b>"
"""A name that Markdown would act upon."""
TEXT = f"""
[data]
source = "builtin"
[space]
max_lr = {{ low = 1e-4, high = 3e-2, log = true }}
[proxy]
budget = "6m"
trials = 14
report_every = 10
[confirm]
budget = "30m"
[baselines.'{NASTY}']
max_lr = 1e-2
"""
FINAL = (1.50, 1.42, 1.40, 1.55, 1.47, 1.44, 1.61, 1.38, 1.53, 1.46)
"""BPB of the proxies that trained to the end; the first is the baseline's, the second a control's."""
CONFIRMED = {0: (1.30, 1.31), 1: (1.25,), 2: (1.21, 1.22), 4: (1.28,), 7: (1.23, 1.24), 9: (1.27,)}
"""BPB of confirmation runs, by their proxy."""


def full_study(database: Database, name: str = "shown") -> LinkedStudy:
    """Ten proxies to the end, two pruned, two failed, and six confirmed configurations."""
    plan = Plan.parse(TEXT, name=name, origin="a test")
    study = open_study(database, plan)
    for part in (study.proxies, study.confirmations):
        for waiting in part.get_trials(states=[TrialState.WAITING]):  # the baseline, which is told as claimed
            database.storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
            value = FINAL[0] if part is study.proxies else CONFIRMED[0][0]
            for step, loss in reports(value).items() if part is study.proxies else ():
                database.storage.set_trial_intermediate_value(waiting._trial_id, step, loss)
            database.storage.set_trial_state_values(waiting._trial_id, TrialState.COMPLETE, [value])
    for number, value in enumerate(FINAL[1:], start=1):
        attrs = {"control": True} if number == 1 else {}
        add(study.proxies, plan, number, value, reports(value), **attrs)
    by_rule = ({"best_as_bad": 0.021}, {"place_chance": 0.0002, "new_trials_places": 0.04})
    for step, chances in zip((30, 60), by_rule, strict=True):
        pruned = proxy(0, 1.9, {"max_lr": 2e-2}, dict.fromkeys(range(10, step + 1, 10), 1.9), plan, pruner="hopeless")
        pruned.state, pruned.user_attrs = TrialState.PRUNED, pruned.user_attrs | chances
        study.proxies.add_trial(pruned)
    add(study.proxies, plan, 12, None, failure="out_of_memory")
    add(study.proxies, plan, 13, None, failure="error", failure_detail=f"Traceback\nValueError: {NASTY}")
    for number, values in CONFIRMED.items():
        who: dict[str, Any] = {"confirms": number} if number else {"baseline": NASTY}
        for i, bpb in enumerate(values):
            if number or i:
                add(study.confirmations, plan, number, bpb, kind="top", seed=100 + i, why="first run", **who)
    return study


def add(part: optuna.Study, plan: Plan, number: int, value: float | None, curve: Any = None, **attrs: Any) -> None:
    part.add_trial(proxy(number, value, {"max_lr": 1e-3 * (1 + number / 10)}, curve, plan, **attrs))


def reports(final: float) -> dict[int, float]:
    """A curve that ends at this loss, and keeps its place among others from the start."""
    return {step: final + (100 - step) / 200 for step in range(10, 101, 10)}


def by_number(study: LinkedStudy) -> dict[int, FrozenTrial]:
    return {t.number: t for t in study.proxy_trials()}
