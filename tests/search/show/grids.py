"""Grid studies made of numbers: facts that no machine trained for."""

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.plan import Plan
from tests.places import ROOT

STUDIES = ROOT / "studies"
HEAD = '[data]\nsource = "builtin"\n[proxy]\nsampler = "grid"\nbudget = "1m"\n'


def shipped(name: str) -> Plan:
    """A shipped study's plan."""
    return Plan.parse((STUDIES / f"{name}.toml").read_text(encoding="utf-8"), name=name, origin=name)


def plan_of(space: str, **proxy: int) -> Plan:
    """A grid over this space."""
    settings = "".join(f"{key} = {value}\n" for key, value in proxy.items())
    return Plan.parse(f"{HEAD}{settings}[space]\n{space}", name="made", origin="a test")


def ran(plan: Plan, params: Mapping[str, Any], bpb: float | None, **attrs: Any) -> FrozenTrial:
    """A run of the grid's point with these values; without a BPB it diverged."""
    given = attrs if bpb is not None else {"failure": "diverged"}
    return create_trial(
        state=TrialState.FAIL if bpb is None else TrialState.COMPLETE,
        value=bpb,
        params=dict(params),
        distributions={k: plan.space.parameters[k].distribution() for k in params},
        user_attrs={"grid": plan.grid().index(dict(params)), **given},
    )


def made_up(plan: Plan) -> list[FrozenTrial]:
    """Every point of a shipped sweep with its repeats: figures that look like real ones, of a closed form."""
    trials = []
    for params in plan.grid():
        for repeat in range(plan.proxy.repeats):
            layers, vocab = params.get("n_layer", 12), params.get("vocab_size", 6144)
            rank, rate = params.get("projection_dim", 171), params.get("max_lr", 3e-3)
            n_params = 256 * vocab + layers * (0.6e6 + rank * 768)
            speed = 4e11 / n_params * (1 + 0.01 * repeat) * min(1.0, params.get("batch_size", 64) / 24)
            bpb = 1.40 + 30 * (rate**0.5 - 3e-3**0.5) ** 2 + abs(layers - 12) / 300 + (repeat - 0.5) / 400
            bpb += abs(vocab - 8192) / 4e5 + 0.01 * (params.get("kind") == "bpe") + 0.3 / rank
            bpb += 0.004 * len(params.get("schedule", "")) / 4 + params.get("batch_size", 64) / 4000
            tokens = speed * plan.proxy.budget_seconds
            attrs = {"n_params": n_params, "tokens": tokens, "tokens_per_param": tokens / n_params}
            attrs |= {"tokens_per_second": speed, "train_bpb": bpb - 0.03, "bytes_per_token": 1.2 * vocab**0.13}
            trials.append(ran(plan, params, None if rate > 9e-3 and not repeat else bpb, **attrs))
    return trials
