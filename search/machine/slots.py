"""Slots for workers on this machine: its GPUs, or shares of its cores."""

import os
from dataclasses import dataclass

import torch

from model.data.tokenizer import cpu_count

MOST_CPU_WORKERS = 4
"""Most workers on CPU unless asked for more: each takes about half a gigabyte before it trains anything."""


@dataclass(frozen=True)
class Slot:
    """Place of one worker: its device, such as "cuda:0", and the threads that it may use."""

    device: str
    threads: int


def slots(workers: int | None = None) -> list[Slot]:
    """Return one slot for each GPU; on CPU one for each core, at most four, the cores divided among them."""
    cores = cpu_count()
    if torch.cuda.is_available():
        gpus = torch.cuda.device_count()
        count = workers or gpus
        return [Slot(f"cuda:{i % gpus}", max(1, cores // count)) for i in range(count)]
    count = workers or min(cores, MOST_CPU_WORKERS)
    return [Slot("cpu", max(1, cores // count)) for _ in range(count)]


def bound_compile_threads(threads: int | None) -> int:
    """Have torch compile kernels in at most so many processes, by default this worker's share of the cores.

    Left alone each worker starts up to 32: on a machine of eight GPUs 256 at once. Takes effect until torch's compiler
    is first used; a number that is set in the environment stands. Returns the number.
    """
    most = threads or max(1, cpu_count() // max(1, torch.cuda.device_count()))
    return int(os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(most)))
