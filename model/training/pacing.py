"""How far the host runs ahead of the device: batches copied in advance, and a bound on queued steps."""

import torch
from torch import Tensor

from model.network.device import synchronize
from model.training.clock import Clock


class Feed:
    """Copies batches to the device; to a GPU through two pinned buffers in turn.

    It waits for a buffer whose last copy is still due. Under `Pace`, which lets the host run at most one step ahead,
    two are enough for it never to wait.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers: list[tuple[Tensor, torch.cuda.Event]] = []
        """Each with the event that its last copy is done."""

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the batch on the device."""
        if self._device.type != "cuda":
            return batch
        if not self._buffers or self._buffers[0][0].shape != batch.shape:
            self._buffers = [
                (torch.empty_like(batch).pin_memory(), torch.cuda.Event())  # type: ignore[no-untyped-call]
                for _ in range(2)
            ]
        self._buffers.reverse()
        buffer, copied = self._buffers[0]
        copied.synchronize()  # an event that was never recorded is done
        buffer.copy_(batch)
        rows = buffer.to(self._device, non_blocking=True)
        copied.record(torch.cuda.current_stream(self._device))
        return rows


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
