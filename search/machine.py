"""What a worker runs on, and whether a study admits it: a time budget buys another result on other hardware.

The first worker's class and the throughput of its reference step are pinned to the study. GPUs of another class, or
below 90% of the pinned reference, are refused, or, where the study mixes hardware, get a budget scaled by the ratio
of the references. On CPUs several workers share the cores and such timings are noisy, and the number of threads is
a matter of how many workers `start` was asked for: another processor is refused, the rest is only said.
"""

import json
from dataclasses import dataclass

import torch
from optuna.trial import FrozenTrial

from model.reference import reference_tokens_per_second
from model.settings import Settings, setting
from search.errors import HardwareError
from search.provenance import processor, workforce
from search.study import LinkedStudy, agree

SLOWEST = 0.9
"""Share of the pinned reference below which a machine counts as throttled or shared."""
MEMORY_TOLERANCE = 0.1
"""Drivers hold back different parts of a card's memory; a card of another size differs by more."""
ATTRIBUTE = "hardware"
"""Of the study: the pinned machine, as JSON."""


@dataclass(frozen=True, kw_only=True)
class Machine(Settings):
    """What one worker trains on, and how fast it ran the reference step when the worker started."""

    kind: str = setting(doc="kind of device", choices=("cuda", "cpu"))
    name: str = setting(doc="the GPU's name, or the processor's")
    memory_gib: float = setting(0.0, "a GPU's memory", at_least=0)
    threads: int = setting(0, "threads on a CPU", at_least=0)
    reference_tokens_per_second: float = setting(doc="throughput of the reference step", above=0)

    @property
    def label(self) -> str:
        """Its class, as people read it."""
        return f"{self.name} ({self.memory_gib:.0f} GiB)" if self.kind == "cuda" else f"{self.name} ({self.workforce})"

    @property
    def workforce(self) -> str:
        """Threads on a CPU, in words."""
        return workforce(self.threads)

    @property
    def speed(self) -> str:
        """Its throughput, as people read it."""
        return f"{self.reference_tokens_per_second:,.0f} tokens/s"


def look(device: torch.device) -> Machine:
    """Return what this device is, and time the reference step on it."""
    speed = reference_tokens_per_second(device)
    if device.type != "cuda":
        threads = torch.get_num_threads()
        return Machine(kind="cpu", name=processor(), threads=threads, reference_tokens_per_second=speed)
    card = torch.cuda.get_device_properties(device)
    memory = round(card.total_memory / 2**30, 1)
    return Machine(kind="cuda", name=card.name, memory_gib=memory, reference_tokens_per_second=speed)


@dataclass(frozen=True)
class Comparison:
    """How a machine stands to the pinned one."""

    said: str = ""
    """What differs; empty where nothing does that matters."""
    refused: bool = False
    """Whether a study that doesn't mix hardware refuses it."""
    scale: float | None = 1.0
    """Factor on a budget for equal work; None where the two can't be compared."""
    remedy: str = ""
    """What might make it equal."""


def compare(pinned: Machine, here: Machine) -> Comparison:
    """Return what differs between the pinned machine and this one."""
    both = f"{here.label}, reference step {here.speed}, is not the study's {pinned.label}, {pinned.speed}"
    ratio = pinned.reference_tokens_per_second / here.reference_tokens_per_second
    if here.kind != pinned.kind:
        return Comparison(f"{here.label} is not the study's {pinned.label}", True, None)
    if here.name != pinned.name or not _as_large(pinned.memory_gib, here.memory_gib):
        return Comparison(both, True, ratio)
    share = f"{here.label} runs the reference step at {1 / ratio:.0%} of the study's {pinned.speed}"
    if here.kind == "cpu" and here.threads != pinned.threads:
        return Comparison(f"{share} with {pinned.workforce}", False, ratio)
    if here.kind == "cpu":
        return Comparison(share if 1 / ratio < SLOWEST else "")
    if 1 / ratio < SLOWEST:
        return Comparison(f"{share}: throttled, shared or capped", True, ratio, _COOL)
    if ratio < SLOWEST:
        return Comparison(f"{share}: the study's first worker may have been throttled or shared", False, ratio)
    return Comparison()


_COOL = (
    "Let it cool, end what else runs on it, or reset its power limit (`nvidia-smi -q -d PERFORMANCE,POWER` says why), "
)


def _as_large(pinned_gib: float, here_gib: float) -> bool:
    return abs(pinned_gib - here_gib) <= MEMORY_TOLERANCE * max(pinned_gib, here_gib)


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
    text = study.proxies.user_attrs.get(ATTRIBUTE)
    return Machine.parse(json.loads(text)) if text else None


def machine_of(trial: FrozenTrial) -> Machine | None:
    """Return the machine that a trial was trained on, where that is known."""
    table = trial.user_attrs.get("provenance", {}).get("hardware")
    return Machine.parse(table) if table else None


def budget_machine(study: LinkedStudy, run: FrozenTrial) -> Machine | None:
    """Return the machine whose seconds a run's nominal budget means: its own, unless the budget was scaled to it."""
    return pinned_machine(study) if "budget_scale" in run.user_attrs else machine_of(run)


def hardware_line(study: LinkedStudy) -> str:
    """Return the pinned class and how its workers compare, in a sentence; empty before its first worker."""
    pinned = pinned_machine(study)
    if pinned is None:
        return ""
    trials = [*study.proxy_trials(), *study.confirm_trials()]
    speeds = [m.reference_tokens_per_second for t in trials if (m := machine_of(t)) and m.kind == pinned.kind]
    shares = [speed / pinned.reference_tokens_per_second for speed in speeds]
    spread = f", workers at {min(shares):.0%} to {max(shares):.0%} of it" if shares else ""
    scaled = sum("budget_scale" in t.user_attrs for t in trials)
    mixed = f"; budgets of {scaled} runs scaled by that ratio (mixed hardware)" if scaled else ""
    return f"Hardware: {pinned.label}, reference step {pinned.speed}{spread}{mixed}."
