"""The vocabulary of trials: what they are called, whose configuration they have, which of them count."""

from optuna.trial import FrozenTrial, TrialState

from search.study.identity import ID as ID
from search.study.identity import confirm_name as confirm_name
from search.study.plan import Plan
from search.study.space import Params


def given_to(trial: FrozenTrial) -> Params:
    """Return a trial's parameters, those included that wait to be set."""
    waiting = trial.system_attrs.get("fixed_params")
    return {**(waiting if isinstance(waiting, dict) else {}), **trial.params}


def label(baseline: str | None, number: int | None, lr_scale: float) -> str:
    """Return what people call a configuration with long runs."""
    name = f"baseline {baseline}" if baseline else f"trial {number}"
    return name if lr_scale == 1 else f"{name} at lr × {lr_scale:g}"


def run_label(proxy: bool, number: int) -> str:
    """Return what people call a run."""
    return f"trial {number}" if proxy else f"confirmation {number}"


def who(run: FrozenTrial) -> tuple[str | None, int | None, float]:
    """Return whose a long run is: the baseline, or the number of the proxy trial, and the factor on its rate."""
    attrs = run.user_attrs
    return attrs.get("baseline"), attrs.get("confirms"), attrs.get("lr_scale", 1.0)


def final_budget(plan: Plan, run: FrozenTrial) -> bool:
    """Return whether a confirmation run has the study's long budget, and not that of a rung on the way."""
    return bool(run.user_attrs.get("budget", plan.confirm.budget) == plan.confirm.budget)


def finished(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that trained to the end."""
    return [t for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
