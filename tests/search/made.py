"""Studies made of numbers: trials and confirmed configurations without training."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.plan import Plan
from search.study.results import Confirmed

TEXT = """
[data]
source = "builtin"
[space]
max_lr = { low = 1e-4, high = 3e-2, log = true }
vocab_size = { low = 2048, high = 12288, step = 1024 }
n_layer = { low = 4, high = 32 }
n_head = { low = 2, high = 8 }
batch_size = { choices = [8, 16, 32, 64, 128] }
[proxy]
budget = "6m"
trials = 100
[confirm]
budget = "30m"
"""
PLAN = Plan.parse(TEXT, name="made", origin="a test")
MIDDLE = {"max_lr": 2e-3, "vocab_size": 6144, "n_layer": 12, "n_head": 4, "batch_size": 32}
START = datetime(2026, 1, 1)


def proxy(
    number: int,
    bpb: float | None = None,
    params: Mapping[str, Any] | None = None,
    reports: Mapping[int, float] | None = None,
    plan: Plan = PLAN,
    **attrs: Any,
) -> FrozenTrial:
    """A proxy trial that finished with this BPB, or, without one, failed; trials finish in their numbers' order."""
    values = {**MIDDLE, **(params or {})} if plan is PLAN else dict(params or {})
    trial = create_trial(
        state=TrialState.FAIL if bpb is None else TrialState.COMPLETE,
        value=bpb,
        params=values,
        distributions={k: plan.space.parameters[k].distribution() for k in values},
        intermediate_values=dict(reports or {}),
        user_attrs=attrs,
    )
    trial.number = number
    trial.datetime_complete = START + timedelta(minutes=number)
    return trial


def confirmed_of(trial: FrozenTrial, bpb: Sequence[float], **attrs: Any) -> Confirmed:
    """The confirmed configuration of a proxy, with a BPB for each seed from 100 on."""
    seeds = dict(enumerate(bpb, start=100))
    runs = [proxy(trial.number, v, trial.params, seed=seed, **attrs) for seed, v in seeds.items()]
    name = trial.user_attrs.get("baseline")
    return Confirmed(name, trial.number, trial.params, trial.value, seeds, tuple(runs))
