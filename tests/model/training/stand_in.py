"""A GPU for tests on machines without one: the CPU keeps CUDA's rules, so that the branches for GPUs are checked.

Inside `with stand_in() as gpu:` every tensor says that it is on the GPU, and what is to be made there is made on the
CPU. A capture runs its operations only to learn their shapes, writes them down and takes back what they wrote: as on a
GPU, nothing has happened. A replay runs them again on the same tensors. What CUDA forbids in a capture (a look at a
value, waiting, work of another device than the stream's) breaks it, and its end raises once more, as torch's does.

Not in it: kernels and their numbers, streams that run side by side, the allocator, Triton. All tensors are on the one
device, so that a tensor left on the host is not noticed.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from model import evaluate
from model.training import peak_flops
from model.training.graphs import capture_stream
from tests.model.training.stand_in_modes import Allocator, Capture, OnGpu

FORBIDDEN = "CUDA error: operation not permitted when stream is capturing"
BROKEN = "CUDA error: operation failed due to a previous error during capture"
NO_LIMIT = 2**60


class Gpu:
    """The GPU that isn't there, and what stands for `torch.cuda`.

    Args:
        index: the device that all tensors are on.
        name: the card's name.
        memory_bytes: what is free.

    """

    def __init__(self, index: int, name: str, memory_bytes: int) -> None:
        self.device, self.name, self.memory_bytes = torch.device("cuda", index), name, memory_bytes
        self.current = 0
        """Index of torch's current device."""
        self.events: Counter[str] = Counter()
        """How often each thing was asked for."""
        self.capture: Capture | None = None
        self.default = Stream(self, self.device)
        self.stream = self.default
        """Torch's current stream."""
        self.launched_on: set[Stream] = set()
        """Streams that were made current."""
        self.largest_bytes = NO_LIMIT
        """A larger tensor than this doesn't fit."""
        self.fits: Callable[[], bool] = lambda: False
        """Whether a tensor above the limit fits nevertheless: when memory runs out is up to the test."""
        self.made_bytes = 0
        """Memory of all the tensors made since it was last reset: no pass of this GPU frees anything."""

    def refuse_while_capturing(self) -> None:
        if self.capture is not None:
            self.capture.broken = True
            raise torch.AcceleratorError(FORBIDDEN)

    @contextlib.contextmanager
    def on_device(self, wanted: torch.device) -> Iterator[None]:
        before, self.current = self.current, wanted.index or 0
        yield
        self.current = before

    def set_device(self, wanted: torch.device) -> None:
        assert wanted.index is not None, "torch refuses a device without an index here"
        self.current = wanted.index

    def make_stream(self, device: torch.device | None = None) -> "Stream":
        self.events["streams"] += 1
        return Stream(self, device)

    @contextlib.contextmanager
    def on_stream(self, wanted: "Stream") -> Iterator[None]:
        before, self.stream = self.stream, wanted
        self.launched_on.add(wanted)
        try:
            yield
        finally:
            self.stream = before

    @contextlib.contextmanager
    def capturing(self, into: "Graph", pool: Any = None, stream: "Stream | None" = None) -> Iterator[None]:
        self.refuse_while_capturing()
        before, self.stream = self.stream, stream or Stream(self)
        into.captured = self.capture = capture = Capture(self)
        try:
            with capture:
                yield
        finally:
            self.capture = None
            capture.undo()
            if capture.broken:  # torch raises here, and never leaves the capture's stream
                raise torch.AcceleratorError(BROKEN)
            self.stream = before
        self.events["captures"] += 1

    def synchronize(self, device: Any = None) -> None:
        self.refuse_while_capturing()
        self.events["synchronized"] += 1

    def reset_peak(self, device: Any = None) -> None:
        self.made_bytes = 0

    def cuda(self) -> dict[str, Any]:
        """Return what stands for the parts of `torch.cuda` that are used."""
        facts = SimpleNamespace(name=self.name, total_memory=self.memory_bytes, major=8, minor=9, uuid="")
        return {
            "CUDAGraph": partial(Graph, self),
            "Event": partial(Event, self),
            "Stream": self.make_stream,
            "current_device": lambda: self.current,
            "current_stream": lambda device=None: self.stream,
            "device": self.on_device,
            "device_count": lambda: 2,
            "empty_cache": lambda: self.events.update(["caches emptied"]),
            "get_device_capability": lambda device=None: (facts.major, facts.minor),
            "get_device_name": lambda device=None: self.name,
            "get_device_properties": lambda device=None: facts,
            "graph": self.capturing,
            "is_available": lambda: True,
            "max_memory_allocated": lambda device=None: self.made_bytes,
            "mem_get_info": lambda device=None: (self.memory_bytes, self.memory_bytes),
            "memory_allocated": lambda device=None: 0,
            "memory_reserved": lambda device=None: 0,
            "reset_peak_memory_stats": self.reset_peak,
            "set_device": self.set_device,
            "stream": self.on_stream,
            "synchronize": self.synchronize,
        }


class Stream:
    def __init__(self, gpu: Gpu, device: torch.device | None = None) -> None:
        self.gpu, self.index = gpu, gpu.current if device is None else device.index

    def wait_stream(self, other: "Stream") -> None:
        assert other is not self, "a stream that waits for itself"
        self.gpu.events["stream waits"] += 1


class Event:
    def __init__(self, gpu: Gpu) -> None:
        self.gpu, self.recorded = gpu, False

    def record(self, stream: Stream) -> None:
        self.recorded = True

    def synchronize(self) -> None:
        self.gpu.refuse_while_capturing()
        self.gpu.events["waits for an event"] += self.recorded


class Graph:
    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.captured: Capture | None = None

    def pool(self) -> "Graph":
        return self

    def replay(self) -> None:
        assert self.captured is not None, "replayed before it was captured"
        self.gpu.refuse_while_capturing()
        self.gpu.events["replays"] += 1
        self.captured.replay()


@contextlib.contextmanager
def stand_in(
    index: int = 0, name: str = "NVIDIA GeForce RTX 4090", memory_bytes: int = 24 << 30, limited: bool = False
) -> Iterator[Gpu]:
    """Have a GPU for the length of a block; where it is `limited`, memory is counted and may run out."""
    gpu = Gpu(index, name, memory_bytes)
    enabled, dtype, autocast = torch.is_autocast_enabled, torch.get_autocast_dtype, torch.autocast
    replaced = {f"torch.cuda.{name}": by for name, by in gpu.cuda().items()} | {
        "torch.autocast": lambda kind, **options: autocast("cpu", **options),
        "torch.get_autocast_dtype": lambda kind: dtype("cpu"),
        "torch.is_autocast_enabled": lambda kind="cuda": enabled("cpu"),
    }
    capture_stream.cache_clear()
    with contextlib.ExitStack() as stack:
        for place, by in replaced.items():
            stack.enter_context(mock.patch(place, by))
        # What fills a GPU takes a CPU seconds.
        stack.enter_context(mock.patch.dict(peak_flops.SIDES, cuda=peak_flops.SIDES["cpu"]))
        stack.enter_context(mock.patch.dict(evaluate.TOKENS_AT_ONCE, cuda=512))
        if limited:
            stack.enter_context(Allocator(gpu))
        stack.enter_context(OnGpu(gpu))
        stack.callback(capture_stream.cache_clear)
        yield gpu
