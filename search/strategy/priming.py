"""Priming: an earlier study's results as the prior of a new study's pruner."""

from typing import Any

import optuna

from search.common.errors import SearchError
from search.strategy.pruner import earlier_sums
from search.study.identity import Say, study_identity
from search.study.plan import Plan
from search.study.study import attributes, exists, flattened, stored_plan
from search.study.trial_attributes import with_valid_attributes
from storage.server.database import Database

LEARNT_FROM = "lessons_from"
"""Attribute of a study: the identities of the earlier studies that primed its pruner, by name."""


def prime(database: Database, plan: Plan, say: Say) -> dict[str, Any]:
    """Return an earlier study's results as attributes of the new one, so that all workers use the same prior.

    Empty if the plan names no earlier study, or its results are stored already. Raises `SearchError` if there is no
    such study, or its trials had another budget, schedule or report points: their curves would mislead.
    """
    name = plan.pruner.primed_by
    own = attributes(database, plan.name) if exists(database, plan.name) else {}
    earlier = optuna.load_study(study_name=name, storage=database.storage) if name and exists(database, name) else None
    if name and f"lessons:{name}" in own:
        primed_by = own.get(LEARNT_FROM, {}).get(name, "")
        if earlier is not None and primed_by and primed_by != study_identity(earlier):
            say(f'note: the results of "{name}" (`primed_by`) stay in use, though another study has that name now')
        return {}
    if not name:
        return {}
    if earlier is None:
        raise SearchError(f'[pruner] `primed_by` is "{name}", but no study here has that name')
    earlier_plan = stored_plan(database, name)
    for key in ("proxy.budget", "proxy.report_every", "proxy.schedule", "train.schedule"):
        ours, its = (flattened(p.table()).get(key) for p in (plan, earlier_plan))
        if ours != its:
            raise SearchError(f'[pruner] `primed_by` is "{name}", whose {key} is {its!r}, but must be {ours!r} as here')
    sums_by_step = earlier_sums(with_valid_attributes(earlier.get_trials(deepcopy=False)))
    table = {str(step): [float(v) for v in sums] for step, sums in sums_by_step.items()}
    return {f"lessons:{name}": table, LEARNT_FROM: own.get(LEARNT_FROM, {}) | {name: study_identity(earlier)}}
