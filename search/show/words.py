"""How configurations, runs and times are said in a few words."""

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.run import run_label

SHORT = {"max_lr": "lr", "vocab_size": "vocab", "batch_size": "batch"}
GATE_MARKS = {True: "━", False: "·"}


def describe(params: Mapping[str, Any]) -> str:
    """Return a configuration's searched values on one line, in the field's shorthand."""
    p = dict(params)
    heads = [f"{p.pop('n_layer')}L" if "n_layer" in p else ""]
    if {"n_head", "head_dim"} <= p.keys():
        n_head, head_dim = p.pop("n_head"), p.pop("head_dim")
        heads += [f"d{n_head * head_dim}", f"{n_head}h"]
    rest = [f"{SHORT.get(k, k)} {v:.2g}" if isinstance(v, float) else f"{SHORT.get(k, k)} {v}" for k, v in p.items()]
    return " ".join([*filter(None, heads), *rest])


def outcome(trial: FrozenTrial, proxy: bool) -> str:
    """Return one line that says what became of a finished trial."""
    label = f"{run_label(proxy, trial.number):<16}"
    attrs = trial.user_attrs
    known = {"baseline": "baseline {}", "confirms": "of trial {}", "grid": describe(trial.params), "seed": "seed {}"}
    scaled = f", lr × {attrs['lr_scale']:g}" if attrs.get("lr_scale", 1.0) != 1 else ""
    scaled += f", budget scaled × {attrs['budget_scale']:.2f}" if "budget_scale" in attrs else ""
    who = ", ".join(text.format(attrs[key]) for key, text in known.items() if key in attrs) + scaled
    if trial.state == TrialState.COMPLETE:
        return f"{label} {trial.value:.4f} BPB  {attrs.get('tokens', 0):>12,} tokens  {who}".rstrip()
    if trial.state == TrialState.PRUNED:
        return f"{label} pruned at {trial.last_step}% with {trial.value:.4f} BPB"
    return f"{label} failed: {attrs.get('failure', 'unknown')} {who}".rstrip()


def span(seconds: float) -> str:
    """Return a time for people who wait: 40 s, 12 min, 3:05 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"


def count(number: int, one: str) -> str:
    """Return so many of a thing: 1 worker, 4 workers."""
    return f"{number} {one}" if number == 1 else f"{number} {one}s"
