"""The plan that a command line asks for: the study file with the command's options applied."""

from collections.abc import Callable
from dataclasses import replace

from model.errors import SettingsError
from search.common.errors import StudyFileError
from search.study import study_file as studyfile
from search.study.plan import Plan
from search.study.shipped import shipped
from search.study.study import exists, stored_plan
from storage.server.database import Database


def requested_plan(
    database: Database, study: str, data: str | None, column: str | None, rename: str | None, trials: int | None
) -> Plan:
    """Return the plan that `start` was asked for: of a file by its path, of the study so named, or of a shipped file.

    A study that has been opened goes on by its name as it was opened, even if a later version ships another file.
    """
    name = studyfile.study_name(study)
    template = rename is not None and name in shipped()
    from_file = studyfile.is_path(study) or template or not exists(database, name)
    plan = studyfile.read(study) if from_file else stored_plan(database, name)
    if data:
        plan = studyfile.with_data(plan, data, column)
    elif column:
        plan = replace(plan, data=replace(plan.data, column=column))
    if trials is not None and plan.is_grid:
        raise StudyFileError(f"--trials is {trials}, but {plan.name} is a grid of {plan.proxy.trials} runs")
    try:
        plan = replace(plan, proxy=replace(plan.proxy, trials=trials)) if trials is not None else plan
    except SettingsError as error:
        raise StudyFileError(f"--trials: {error}") from None
    return replace(plan, name=studyfile.study_name(rename)) if rename else plan


def with_cap(
    database: Database,
    plan: Plan,
    max_usd: float | None,
    price: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Plan:
    """Return the plan with this cost cap; with the stored one if neither `max_usd` nor the study file sets a cap.

    If the plan has no price of a GPU hour, `price` is used, or else the stored one. If the study file changes the
    stored cap, which a launch may have set, `say` is called with a note.
    """
    if exists(database, plan.name):
        cost = stored_plan(database, plan.name).cost
        price = price or cost.usd_per_gpu_hour
        if max_usd is None and not plan.cost.max_usd:
            max_usd = cost.max_usd
        elif max_usd is None and cost.max_usd not in (0, plan.cost.max_usd):
            say(
                f"note: the cap was ${cost.max_usd:.2f} and is ${plan.cost.max_usd:.2f} now, the study file's; "
                f"--max-usd {cost.max_usd:g} keeps it"
            )
    return capped(plan, max_usd, price)


def capped(plan: Plan, max_usd: float | None, price: float | None = None) -> Plan:
    """Return the plan with this cost cap, if one is given; raises `StudyFileError` if the plan doesn't allow it."""
    cap = plan.cost.max_usd if max_usd is None else max_usd
    cost = replace(plan.cost, max_usd=cap, usd_per_gpu_hour=plan.cost.usd_per_gpu_hour or price or 0.0)
    try:
        return replace(plan, cost=cost)
    except SettingsError as error:
        raise StudyFileError(f"--max-usd: {error}") from None
