"""Slots for workers on this machine: its GPUs, or shares of its cores."""

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
