"""Admission of a machine to a study: the first worker's hardware is pinned, and other workers' compared with it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial

from search.common.errors import HardwareError
from search.machine.hardware import Comparison, Hardware, compare, device_name
from search.study.plan import Plan
from search.study.study import LinkedStudy, agree
from search.study.trials import attributes_of

if TYPE_CHECKING:
    import torch

    from model.training.self_test import SelfTest

ATTRIBUTE = "hardware"
"""Study attribute with the pinned hardware, as JSON."""


@dataclass(frozen=True)
class Admission:
    """Terms on which a machine works for a study."""

    budget_scale: float = 1.0
    """Factor on every budget, with which it does as much work as the pinned hardware."""
    note: str = ""
    """How its hardware differs, for people; empty if it doesn't."""


def admit(study: LinkedStudy, here: Hardware) -> Admission:
    """Pin this hardware if it is the study's first, else compare it with the pinned one.

    Raises `HardwareError` if results would not be comparable.
    """
    pinned = Hardware.parse(json.loads(agree(study, ATTRIBUTE, json.dumps(here.table()))))
    comparison = compare(pinned, here)
    difference = comparison.difference
    if study.plan.workers.mixed_hardware and comparison.scale is not None:
        scaled = comparison.scale != 1.0
        return Admission(comparison.scale, f"{difference}: budgets × {comparison.scale:.2f}" if scaled else difference)
    if comparison.refused:
        raise HardwareError(_refusal(comparison))
    return Admission(note=difference)


def is_reference_compiled(study: LinkedStudy, device: "torch.device") -> bool:
    """Return whether a worker compiles the reference step: as the study's first worker did, else as its runs are.

    Raises `CompileError` if the study's runs must be compiled and can't be here.
    """
    from model.training.compiling import missing_compiler, shall_compile

    plan = study.plan
    wanted = shall_compile(plan.train.compile, device, plan.confirm.budget_seconds)
    pinned = pinned_hardware(study)
    if pinned is not None and pinned.kind == device.type:
        wanted = pinned.compiled and not missing_compiler(device)
    return wanted and device.type == "cuda"


def missing_precision(plan: Plan, device: Callable[[], "torch.device"]) -> str:
    """Return why this device can't train every configuration of a study, as a sentence's part; empty if it can."""
    from model.training.float8 import NEWER, missing_float8

    searched = plan.space.parameters.get("precision")
    values = {plan.train.precision} if searched is None else set(searched.choices or ())
    values |= {p["precision"] for p in [*plan.baselines.values(), *plan.ideas.values()] if "precision" in p}
    missing = missing_float8(device()) if "float8" in values else ""
    return f'the study has precision = "float8", but {missing} ({NEWER})' if missing else ""


def require_precision(plan: Plan, device: "torch.device") -> None:
    """Raise `HardwareError` if this device can't train every configuration of a study."""
    if missing := missing_precision(plan, lambda: device):
        raise HardwareError(
            f'{missing}; nothing was claimed. Use such a GPU, or start another study with precision = "auto".'
        )


def require_passed(test: "SelfTest", device: "torch.device") -> None:
    """Raise `HardwareError` if the device failed the self-test: its results could not be trusted."""
    if not test.passed:
        raise HardwareError(
            f"{device_name(device)} ({device}) failed the self-test: {test.trouble}; nothing was claimed. "
            "`lilm-search doctor --gpu` runs it again; use another machine if it stays so."
        )


def _refusal(comparison: Comparison) -> str:
    mix = ", or set mixed_hardware = true in the study file's [workers], which scales budgets by the ratio"
    remedy = comparison.remedy or "Use the study's hardware, "
    other = "start another study with --as NEW-NAME"
    return (
        f"{comparison.difference}; what a time budget buys would not compare. "
        f"{remedy}{'' if comparison.scale else 'or '}{other}{mix if comparison.scale else ''}."
    )


def pinned_hardware(study: LinkedStudy) -> Hardware | None:
    """Return the hardware pinned to the study; None before its first worker."""
    text = study.proxy_attributes().get(ATTRIBUTE)
    return Hardware.parse(json.loads(text)) if text else None


def hardware_of(trial: FrozenTrial) -> Hardware | None:
    """Return the hardware that a trial was trained on; None if it wasn't recorded."""
    table = attributes_of(trial).provenance.get("hardware")
    return Hardware.parse(table) if table else None


def budget_hardware(study: LinkedStudy, run: FrozenTrial) -> Hardware | None:
    """Return the hardware for which a run's nominal budget holds.

    That is the pinned one if the budget was scaled, else the run's own; None if it wasn't recorded.
    """
    return pinned_hardware(study) if attributes_of(run).budget_scale is not None else hardware_of(run)


def hardware_line(study: LinkedStudy) -> str:
    """Return a sentence on the pinned hardware and the workers' speeds; empty before the study's first worker."""
    pinned = pinned_hardware(study)
    if pinned is None:
        return ""
    trials = [*study.proxy_trials(), *study.confirm_trials()]
    speeds = [h.reference_tokens_per_second for t in trials if (h := hardware_of(t)) and h.kind == pinned.kind]
    shares = [speed / pinned.reference_tokens_per_second for speed in speeds]
    spread = f", workers at {min(shares):.0%} to {max(shares):.0%} of it" if shares else ""
    scaled = sum(attributes_of(t).budget_scale is not None for t in trials)
    mixed = f"; budgets of {scaled} runs scaled by that ratio (mixed hardware)" if scaled else ""
    return f"Hardware: {pinned.label}, reference step {pinned.speed}{spread}{mixed}."
