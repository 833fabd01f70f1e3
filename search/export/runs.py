"""One finished run of a study as an export of its own: a proxy trial, or a confirmation run."""

from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.analysis.snapshot import Snapshot
from search.common.errors import SearchError
from search.export.export import mean_speed, noise_table, to_train_again
from search.study.results import pooled_noise
from search.study.space import params_key
from search.study.study import LinkedStudy
from search.study.trials import MODE, attributes_of, budget_of, trial_params


def trial_export(snapshot: Snapshot, number: int) -> dict[str, Any]:
    """Return a proxy trial's export; raises `SearchError` if it did not train to the end."""
    run = _finished(snapshot.proxies, number, "trial", "--trial")
    measured_on, noise = "short runs", pooled_noise(_repeated_values(snapshot))
    if noise.deviation is None:
        measured_on, noise = "long runs; short ones scatter more", snapshot.noise
    plan = snapshot.plan
    table = _export(snapshot.study, run, f"trial {number}", plan.proxy.budget, noise_table(noise, measured_on))
    return table | ({"horizon": plan.confirm.budget} if plan.proxy.schedule == "prefix" else {})


def confirmation_export(snapshot: Snapshot, number: int) -> dict[str, Any]:
    """Return a confirmation run's export; raises `SearchError` if it did not train to the end."""
    run = _finished(snapshot.runs, number, "confirmation", "--confirmation")
    budget = budget_of(run, snapshot.plan)
    noise = noise_table(snapshot.noise, "long runs")
    return _export(snapshot.study, run, f"confirmation {number}", budget, noise)


def _finished(trials: Sequence[FrozenTrial], number: int, kind: str, option: str) -> FrozenTrial:
    check_number(option, number, trials)
    run = next(t for t in trials if t.number == number)
    if run.state != TrialState.COMPLETE:
        raise SearchError(f"{kind} {number} can't be verified: it is {run.state.name.lower()}, it has no final BPB")
    return run


def check_number(option: str, number: int, trials: Sequence[FrozenTrial]) -> None:
    """Raise `SearchError` if no trial has the number that the option gives."""
    if not any(t.number == number for t in trials):
        allowed = f"there are 0 to {len(trials) - 1}" if trials else "there is none yet"
        raise SearchError(f"{option} is {number}, but {allowed}")


def _repeated_values(snapshot: Snapshot) -> list[list[float]]:
    """Return, for each configuration that proxies trained, a list of their final BPB."""
    groups: dict[frozenset[Any], list[float]] = {}
    for trial in snapshot.finished:
        groups.setdefault(params_key(trial_params(trial)), []).append(trial.value or 0.0)
    return list(groups.values())


def _export(study: LinkedStudy, run: FrozenTrial, label: str, budget: str, noise: dict[str, Any]) -> dict[str, Any]:
    attrs = attributes_of(run)
    params = study.plan.scaled(trial_params(run), attrs.lr_scale)
    result = {
        "val_bpb": run.value,
        "seeds": [study.plan.proxy.seed if attrs.seed is None else attrs.seed],
        "bpb_by_seed": [run.value],
        "tokens_per_second": mean_speed([run]),
    }
    training = to_train_again(study, params, run)
    mode = attrs.provenance.get(MODE)
    if mode:  # as the study's long runs were, however short this one is
        training["train"] = training["train"] | {"compile": "on" if "compiled" in mode else "off"}
    return {
        "study": study.plan.name,
        "configuration": label,
        "budget": budget,
        "parameters": params,
        "result": {k: v for k, v in result.items() if v is not None} | noise,
        **training,
    }
