"""Whether a study admits this machine: its first worker's hardware is pinned, and others are compared with it."""

import json
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from search.common.errors import HardwareError
from search.machine.hardware import Comparison, Machine, compare
from search.study.study import LinkedStudy, agree
from search.study.trials import attributes_of

ATTRIBUTE = "hardware"
"""Of the study: the pinned machine, as JSON."""


@dataclass(frozen=True)
class Admission:
    """On what terms a machine works for a study."""

    budget_scale: float = 1.0
    """Factor on every budget, so that it does the work of the pinned machine."""
    said: str = ""
    """What people should know of it."""


def admit(study: LinkedStudy, here: Machine) -> Admission:
    """Pin the machine where it is the study's first, else compare it with the pinned one.

    Raises `HardwareError` where results would not compare.
    """
    pinned = Machine.parse(json.loads(agree(study, ATTRIBUTE, json.dumps(here.table()))))
    found = compare(pinned, here)
    if study.plan.workers.mixed_hardware and found.scale is not None:
        scaled = found.scale != 1.0
        return Admission(found.scale, f"{found.said}: budgets × {found.scale:.2f}" if scaled else found.said)
    if found.refused:
        raise HardwareError(_refusal(found))
    return Admission(said=found.said)


def _refusal(found: Comparison) -> str:
    mix = ", or set mixed_hardware = true in the study file's [workers], which scales budgets by the ratio"
    remedy = found.remedy or "Use the study's hardware, "
    other = "start another study with --as NEW-NAME"
    return (
        f"{found.said}; what a time budget buys would not compare. "
        f"{remedy}{'' if found.scale else 'or '}{other}{mix if found.scale else ''}."
    )


def pinned_machine(study: LinkedStudy) -> Machine | None:
    """Return the study's pinned machine; None before its first worker."""
    text = study.proxy_attributes().get(ATTRIBUTE)
    return Machine.parse(json.loads(text)) if text else None


def machine_of(trial: FrozenTrial) -> Machine | None:
    """Return the machine that a trial was trained on, where that is known."""
    table = attributes_of(trial).provenance.get("hardware")
    return Machine.parse(table) if table else None


def budget_machine(study: LinkedStudy, run: FrozenTrial) -> Machine | None:
    """Return the machine whose seconds a run's nominal budget means: its own, unless the budget was scaled to it."""
    return pinned_machine(study) if attributes_of(run).budget_scale is not None else machine_of(run)


def hardware_line(study: LinkedStudy) -> str:
    """Return the pinned class and how its workers compare, in a sentence; empty before its first worker."""
    pinned = pinned_machine(study)
    if pinned is None:
        return ""
    trials = [*study.proxy_trials(), *study.confirm_trials()]
    speeds = [m.reference_tokens_per_second for t in trials if (m := machine_of(t)) and m.kind == pinned.kind]
    shares = [speed / pinned.reference_tokens_per_second for speed in speeds]
    spread = f", workers at {min(shares):.0%} to {max(shares):.0%} of it" if shares else ""
    scaled = sum(attributes_of(t).budget_scale is not None for t in trials)
    mixed = f"; budgets of {scaled} runs scaled by that ratio (mixed hardware)" if scaled else ""
    return f"Hardware: {pinned.label}, reference step {pinned.speed}{spread}{mixed}."
