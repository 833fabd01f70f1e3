"""The hardware of a worker: its class, and the throughput of the reference step on it.

The first worker's class and the throughput of its reference step are pinned to the study. GPUs of another class, or
below 90% of the pinned reference, are refused, or, if the study mixes hardware, get a budget scaled by the ratio
of the references. On CPUs several workers share the cores, so that such timings are noisy, and the number of threads
depends on how many workers `start` was asked for: another processor is refused, other differences are only noted.
"""

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from model.settings import Settings, setting

if TYPE_CHECKING:
    import torch

SLOWEST = 0.9
"""Share of the pinned throughput below which a GPU counts as throttled or shared."""
MEMORY_TOLERANCE = 0.1
"""Relative difference of memory within one class: drivers reserve different amounts; other cards differ by more."""


@dataclass(frozen=True, kw_only=True)
class Hardware(Settings):
    """A worker's device, and how fast it ran the reference step when the worker started."""

    kind: str = setting(doc="kind of device", choices=("cuda", "cpu"))
    name: str = setting(doc="the GPU's name, or the processor's")
    memory_gib: float = setting(0.0, "a GPU's memory", at_least=0)
    threads: int = setting(0, "threads on a CPU", at_least=0)
    reference_tokens_per_second: float = setting(doc="throughput of the reference step", above=0)
    compiled: bool = setting(False, "whether the reference step was compiled, as it is on GPUs where the study's are")

    @property
    def label(self) -> str:
        """Class of the hardware, as people read it."""
        return (
            f"{self.name} ({self.memory_gib:.0f} GiB)"
            if self.kind == "cuda"
            else f"{self.name} ({self.threads_in_words})"
        )

    @property
    def threads_in_words(self) -> str:
        """Number of threads on a CPU, in words."""
        return in_words(self.threads)

    @property
    def speed(self) -> str:
        """Throughput of the reference step, as people read it."""
        return f"{self.reference_tokens_per_second:,.0f} tokens/s"


def detect_hardware(device: "torch.device", compiled: bool = False) -> Hardware:
    """Return the class of a device, and time the reference step on it, compiled or not.

    On a CPU it is never compiled: that would take as long as the first trials' compilation, in every worker.
    """
    import torch

    from model.training.reference_step import reference_tokens_per_second

    if device.type != "cuda":
        speed = reference_tokens_per_second(device)
        threads = torch.get_num_threads()
        return Hardware(kind="cpu", name=processor(), threads=threads, reference_tokens_per_second=speed)
    card = torch.cuda.get_device_properties(device)
    memory = round(card.total_memory / 2**30, 1)
    speed = reference_tokens_per_second(device, compiled=compiled)
    return Hardware(
        kind="cuda", name=card.name, memory_gib=memory, reference_tokens_per_second=speed, compiled=compiled
    )


@dataclass(frozen=True)
class Comparison:
    """How a worker's hardware compares with the pinned one."""

    difference: str = ""
    """What differs, in words; empty if nothing that matters does."""
    refused: bool = False
    """Whether a study that doesn't mix hardware refuses it."""
    scale: float | None = 1.0
    """Factor on a budget for equal work; None if the two can't be compared."""
    remedy: str = ""
    """What a person could do to make them equal; ends in ", "."""


def compare(pinned: Hardware, here: Hardware) -> Comparison:
    """Compare a worker's hardware with the one pinned to the study."""
    both = f"{here.label}, reference step {here.speed}, is not the study's {pinned.label}, {pinned.speed}"
    ratio = pinned.reference_tokens_per_second / here.reference_tokens_per_second
    if here.kind != pinned.kind:
        return Comparison(f"{here.label} is not the study's {pinned.label}", True, None)
    if here.name != pinned.name or not _as_large(pinned.memory_gib, here.memory_gib):
        return Comparison(both, True, ratio)
    share = f"{here.label} runs the reference step at {1 / ratio:.0%} of the study's {pinned.speed}"
    if here.kind == "cpu" and here.threads != pinned.threads:
        return Comparison(f"{share} with {pinned.threads_in_words}", False, ratio)
    if here.kind == "cpu":
        return Comparison(share if 1 / ratio < SLOWEST else "")
    if here.compiled != pinned.compiled:
        ways = {True: "compiled", False: "not compiled"}
        difference = f"the reference step is {ways[here.compiled]} here, but {ways[pinned.compiled]} for the study"
        return Comparison(difference, True, ratio, "Install Triton and a C compiler (`lilm-search doctor`), ")
    if 1 / ratio < SLOWEST:
        return Comparison(f"{share}: throttled, shared or capped", True, ratio, _REMEDY)
    if ratio < SLOWEST:
        return Comparison(f"{share}: the study's first worker may have been throttled or shared", False, ratio)
    return Comparison()


_REMEDY = (
    "Let it cool, end what else runs on it, or reset its power limit (`nvidia-smi -q -d PERFORMANCE,POWER` says why), "
)


def _as_large(pinned_gib: float, here_gib: float) -> bool:
    return abs(pinned_gib - here_gib) <= MEMORY_TOLERANCE * max(pinned_gib, here_gib)


def device_name(device: "torch.device") -> str:
    """Return the GPU's name, or the processor's with the threads in use."""
    import torch

    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{processor()} ({in_words(torch.get_num_threads())})"


def in_words(threads: int) -> str:
    """Return a number of threads in words."""
    return f"{threads} thread{'s' if threads != 1 else ''}"


@cache
def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
