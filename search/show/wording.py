"""Short texts for configurations, trials, durations, numbers and lists."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.study.trials import BASELINE, CONFIRMS, GRID, SEED, attributes_of, run_label

SHORT = {"max_lr": "lr", "vocab_size": "vocab", "batch_size": "batch"}
"""Abbreviations of settings' names."""


def describe(params: Mapping[str, Any]) -> str:
    """Return a configuration's searched values on one line, abbreviated: 3L d64 4h lr 0.0023."""
    p = dict(params)
    heads = [f"{p.pop('n_layer')}L" if "n_layer" in p else ""]
    if {"n_head", "head_dim"} <= p.keys():
        n_head, head_dim = p.pop("n_head"), p.pop("head_dim")
        heads += [f"d{n_head * head_dim}", f"{n_head}h"]
    rest = [f"{SHORT.get(k, k)} {v:.2g}" if isinstance(v, float) else f"{SHORT.get(k, k)} {v}" for k, v in p.items()]
    return " ".join([*filter(None, heads), *rest])


def trial_line(trial: FrozenTrial, proxy: bool) -> str:
    """Return a line on a finished trial: its BPB and tokens, or where it was pruned, or why it failed."""
    label = f"{run_label(proxy, trial.number):<16}"
    attrs = attributes_of(trial)
    descriptions = {BASELINE: "baseline {}", CONFIRMS: "of trial {}", GRID: describe(trial.params), SEED: "seed {}"}
    scaled = f", lr × {attrs.lr_scale:g}" if attrs.lr_scale != 1 else ""
    scaled += f", budget scaled × {attrs.budget_scale:.2f}" if attrs.budget_scale is not None else ""
    origin = (
        ", ".join(text.format(attrs.stored[key]) for key, text in descriptions.items() if key in attrs.stored) + scaled
    )
    if trial.state == TrialState.COMPLETE:
        return f"{label} {trial.value:.4f} BPB  {attrs.tokens or 0:>12,} tokens  {origin}".rstrip()
    if trial.state == TrialState.PRUNED:
        return f"{label} pruned at {trial.last_step}% with {trial.value:.4f} BPB"
    return f"{label} failed: {attrs.failure or 'unknown'} {origin}".rstrip()


def rough_duration(seconds: float) -> str:
    """Return a duration in one unit, rounded: 40 s, 12 min, 3:05 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"


def counted(n: int, one: str, many: str = "") -> str:
    """Return a number with its noun: 1 run, 2 runs."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def ordinal(place: int) -> str:
    """Return a rank in words: the best, the 2nd best, …"""
    if place == 1:
        return "the best"
    end = "th" if 10 <= place % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"the {place}{end} best"


def joined(parts: Sequence[str]) -> str:
    """Return a list in words: a, b and c."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def capitalized(text: str) -> str:
    """Return a sentence with its first letter in upper case, unless it begins with a setting's name."""
    return text if "_" in text.split(" ")[0] else text[:1].upper() + text[1:]
