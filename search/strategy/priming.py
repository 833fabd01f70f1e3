"""What an earlier study teaches the pruner of a new one."""

from typing import Any

import optuna

from search.common.errors import SearchError
from search.strategy.pruner import lessons
from search.study.identity import Say, identity
from search.study.plan import Plan
from search.study.study import attributes, exists, flattened, stored_plan
from search.study.trial_attributes import sound
from storage.server.database import Database

LEARNT_FROM = "lessons_from"
"""Attribute of a study: the identities of those that taught its pruner, by their names."""


def prime(database: Database, plan: Plan, say: Say) -> dict[str, Any]:
    """Return what an earlier study teaches the pruner, as attributes: kept, so that all workers learn the same.

    Empty where nothing is asked for, or is kept already. Raises `SearchError` where the earlier trials were trained
    or reported otherwise: curves of other schedules mislead.
    """
    name = plan.pruner.primed_by
    mine = attributes(database, plan.name) if exists(database, plan.name) else {}
    there = optuna.load_study(study_name=name, storage=database.storage) if name and exists(database, name) else None
    if name and f"lessons:{name}" in mine:
        learnt = mine.get(LEARNT_FROM, {}).get(name, "")
        if there is not None and learnt and learnt != identity(there):
            say(f'note: what was learnt of "{name}" (`primed_by`) stays: the study of that name is another by now')
        return {}
    if not name:
        return {}
    if there is None:
        raise SearchError(f'[pruner] `primed_by` is "{name}", but no study here has that name')
    earlier = stored_plan(database, name)
    for key in ("proxy.budget", "proxy.report_every", "proxy.schedule", "train.schedule"):
        ours, its = (flattened(p.table()).get(key) for p in (plan, earlier))
        if ours != its:
            raise SearchError(f'[pruner] `primed_by` is "{name}", whose {key} is {its!r}, but must be {ours!r} as here')
    taught = lessons(sound(there.get_trials(deepcopy=False)))
    table = {str(step): [float(v) for v in shown] for step, shown in taught.items()}
    return {f"lessons:{name}": table, LEARNT_FROM: mine.get(LEARNT_FROM, {}) | {name: identity(there)}}
