"""A training step as CUDA graphs: recorded once, then replayed with two launches and no work on the host.

Replaying runs the recorded kernels on the recorded addresses. So the rows are copied to where the recording read them,
the learning rate lives on the device, and gradients, weights and the optimizer's state never move.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from model.errors import CaptureError
from model.network.device import out_of_memory


@functools.cache
def capture_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the one stream of this process on which steps are warmed up and captured.

    A new one for each run would leave cuBLAS' workspaces behind, 36 to 52 MB a run: they are kept per stream.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@contextmanager
def on_capture_stream(device: torch.device) -> Iterator[None]:
    """Run a block on the capture stream, after all that was launched before it and before all that follows."""
    stream = capture_stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    try:
        with torch.cuda.stream(stream):
            yield
    finally:  # after an error too: what comes next may write what is still being read there
        torch.cuda.current_stream(device).wait_stream(stream)


class StepGraphs:
    """A captured step: `accumulate` adds a micro-batch's gradients, `update` moves the weights.

    Args:
        rows: the micro-batch that is recorded; each later one is copied to its place.
        parameters: what has gradients. They must have none when the capture begins.
        accumulate: adds the gradients of these rows, without a look at a value.
        update: moves the weights by their gradients, likewise.
        several: whether a step has more than one micro-batch.

    Raises `CaptureError` where a part can't be captured, and what the device raises where its memory runs out.
    """

    def __init__(
        self,
        rows: Tensor,
        parameters: Sequence[Tensor],
        accumulate: Callable[[Tensor], None],
        update: Callable[[], None],
        *,
        several: bool,
    ) -> None:
        self._rows = rows
        self._first, self._further, self._update = (torch.cuda.CUDAGraph() for _ in range(3))
        _record(self._first, rows.device, lambda: accumulate(rows))
        # The first micro-batch found no gradients: autograd wrote fresh ones, in the graphs' own memory, with no
        # zeroing before and no addition after. They are held here, for nothing else may get their addresses.
        self._gradients = [p.grad for p in parameters]
        pool = self._first.pool()
        if several:
            _record(self._further, rows.device, lambda: accumulate(rows), pool)
        _record(self._update, rows.device, update, pool)

    def accumulate(self, micro: Tensor, *, first: bool) -> None:
        """Write the gradients of a step's first micro-batch, or add those of a further one."""
        self._rows.copy_(micro)
        (self._first if first else self._further).replay()

    def update(self) -> None:
        """Move the weights."""
        self._update.replay()


def _record(graph: torch.cuda.CUDAGraph, device: torch.device, work: Callable[[], None], pool: object = None) -> None:
    """Capture the work; raises `CaptureError` with the first cause.

    A capture that fails leaves torch on the capture stream and its memory pool reserved for as long as the process
    lives. The stream is left by us; for the pool there is no remedy but another process.
    """
    stream = capture_stream(device)
    try:
        with torch.cuda.stream(stream), torch.cuda.graph(graph, pool=pool, stream=stream):  # type: ignore[arg-type]
            work()
    except Exception as error:
        if out_of_memory(error):  # a smaller micro-batch may fit
            raise
        raise CaptureError(
            f"a training step could not be captured as a CUDA graph on {device}: {_first_cause(error)}. "
            "What was reserved for it stays so in this process; start the command again"
        ) from error


def _first_cause(error: BaseException) -> str:
    """Return the first line of the error that broke the capture: the end of a broken capture raises another one."""
    while error.__context__ is not None:
        error = error.__context__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
