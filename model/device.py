"""What differs between a CPU and a CUDA GPU: precision, synchronisation, copies, how far the host runs ahead."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from model.clock import Clock


def autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return the precision of the network: bfloat16 autocast on a GPU, float32 on a CPU."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def fast_matmul(device: torch.device) -> Iterator[None]:
    """Allow TF32 for what autocast leaves in float32, for the length of a block."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def synchronize(device: torch.device) -> None:
    """Wait for the work that was handed to the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def to_device(batch: Tensor, device: torch.device) -> Tensor:
    """Copy to the device; to a GPU through pinned memory, without waiting."""
    if device.type == "cuda":
        return batch.pin_memory().to(device, non_blocking=True)
    return batch


class Pace:
    """Keeps the host at most one step ahead of the GPU, and knows how long the step in flight will take.

    Without it the host would queue steps far past the end of the budget. On a CPU nothing is ever in flight.
    """

    def __init__(self, device: torch.device, clock: Clock) -> None:
        self._device, self._clock = device, clock
        self._event: torch.cuda.Event | None = None
        self._last: float | None = None
        self.in_flight_seconds = 0.0

    def step_launched(self) -> None:
        """Wait for the step before this one, which is left running."""
        if self._device.type != "cuda":
            return
        before, self._event = self._event, torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record(torch.cuda.current_stream(self._device))
        if before is not None:
            before.synchronize()
            now = self._clock()
            if self._last is not None:
                self.in_flight_seconds = now - self._last
            self._last = now

    def settle(self) -> None:
        """Wait for everything; nothing is in flight afterwards."""
        synchronize(self._device)
        self._event, self._last, self.in_flight_seconds = None, None, 0.0
