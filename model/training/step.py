"""One optimizer step, made ready off the clock: micro-batches, compilation, CUDA graphs.

The networks trained here are small: on a GPU launching a step's kernels one by one takes longer than running them. So
blocks and loss are compiled once for their shape, and the whole of a step, the optimizer's part included, is captured
in two CUDA graphs: one adds a micro-batch's gradients, the other updates the weights.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from model.config import TrainConfig
from model.errors import CompileError, DeviceMemoryError
from model.network.device import autocast, maybe_compiled, out_of_memory, precision, synchronize
from model.network.loss import batch_loss
from model.network.transformer import Transformer
from model.training.optimizer import Optimizer
from model.training.pacing import Feed

REPAYING_SECONDS = 120.0
"""Compiling takes 5 to 25 s for a shape not seen before: shorter budgets are over before it has paid."""
WHOLE_LAYERS = 8
"""On a CPU so shallow a network is compiled as one: 5 to 10% faster steps, 2 to 3 times the time to compile."""


class Step:
    """Calling it with rows (batch, context + 1) and a learning rate makes one step; it never waits for the device.

    `prepare` comes first. Raises `CompileError` where compilation is asked for and can't be had.
    """

    def __init__(self, network: Transformer, training: TrainConfig, budget_seconds: float) -> None:
        self.network, self.training = network, training
        self.device = network.embedding.weight.device
        self.dtype = precision(self.device, training.precision, network.config.d_model)
        self.compiled = shall_compile(training.compile, self.device, budget_seconds)
        self.captured = False
        self.micro_batch = 0
        self.nats = torch.zeros((), dtype=torch.float64, device=self.device)
        """Mean nats of the next tokens, summed over the steps since they were taken."""
        self.optimizer = Optimizer(network, training, keep_gradients=self.device.type == "cuda")
        whole = self.device.type == "cpu" and network.config.n_layer <= WHOLE_LAYERS
        self._loss = maybe_compiled(batch_loss, self.compiled and whole)
        self._parts_compiled = self.compiled and not whole
        self._feed = Feed(self.device)
        self._accumulate: Callable[[Tensor], None] = self._accumulate_now
        self._update: Callable[[], None] = self.optimizer.step

    @property
    def mode(self) -> str:
        """How steps are run, in words."""
        return " + ".join(["compiled" if self.compiled else "eager", *(["CUDA graphs"] if self.captured else [])])

    def __call__(self, rows: Tensor, rate: float) -> None:
        """Take the step."""
        self.optimizer.rate.fill_(rate)
        for micro in torch.split(self._feed(rows), self.micro_batch):
            self._accumulate(micro)
        self._update()

    def take_nats(self) -> float:
        """Return the sum over steps of their mean nats for a next token, and begin anew; waits for the device."""
        nats = float(self.nats)
        self.nats.zero_()
        return nats

    def _accumulate_now(self, micro: Tensor) -> None:
        """Add the gradient of the batch's mean loss that this micro-batch has a share in."""
        with autocast(self.device, self.dtype):
            loss, nats = self._loss(self.network, micro, self.training.mtp_weight, self._parts_compiled)
        share = len(micro) / self.training.batch_size
        self.nats.add_(nats, alpha=share)
        torch.autograd.backward(loss * share)

    def prepare(self, most: int | None = None) -> None:
        """Find the largest micro-batch that fits, up to `most`; compile and capture its step; learn nothing.

        Raises `DeviceMemoryError` where not even one sequence fits.
        """
        for micro_batch in micro_batches(self.training.batch_size, min(most or 2**31, self.training.micro_batch)):
            self.micro_batch = micro_batch
            try:
                with self._undone():
                    self._warm_up()
                return
            except Exception as error:
                if not out_of_memory(error):
                    raise
            self._release()
        raise DeviceMemoryError(
            f"not even one sequence of {self.network.config.context} tokens fits into the memory of {self.device} "
            f"beside {sum(p.numel() for p in self.optimizer.parameters):,} parameters"
        )

    def _warm_up(self) -> None:
        rows = torch.zeros(self.micro_batch, self.network.config.context + 1, dtype=torch.int64, device=self.device)
        self.optimizer.clear()
        if self.device.type != "cuda":
            self._accumulate_now(rows)
            self.optimizer.step()
            return
        side = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(2):
                self._accumulate_now(rows)
                self.optimizer.step()
        torch.cuda.current_stream(self.device).wait_stream(side)
        synchronize(self.device)
        self._capture(rows)

    def _capture(self, rows: Tensor) -> None:
        """Record the two halves of a step; where that can't be done, steps are launched as they are."""
        accumulate, update = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(accumulate):
                self._accumulate_now(rows)
            with torch.cuda.graph(update, pool=accumulate.pool()):
                self.optimizer.step()
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            return

        def add(micro: Tensor) -> None:
            rows.copy_(micro)
            accumulate.replay()

        self._accumulate, self._update, self.captured = add, update.replay, True

    def _release(self) -> None:
        """Give back what a try that did not fit has taken."""
        for p in self.optimizer.parameters:
            p.grad = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """Put weights and optimizer back to what they were, in place: captured graphs know their addresses."""
        before = [p.detach().clone() for p in self.optimizer.parameters]
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self.optimizer.parameters, before)
            self.optimizer.reset()
            self.nats.zero_()


def micro_batches(batch_size: int, most: int) -> list[int]:
    """Return the divisors of the batch size up to `most`, the largest first: equal parts have one shape."""
    return [d for d in range(min(batch_size, most), 0, -1) if batch_size % d == 0]


def compiled_as(training: TrainConfig, device: torch.device, budget_seconds: float) -> TrainConfig:
    """Return the settings with "auto" settled as for a run of such a budget.

    Shorter runs then go at the long one's speed. What compiling gains differs among networks: short runs without it
    would rank others first.
    """
    if training.compile != "auto":
        return training
    return replace(training, compile="on" if shall_compile("auto", device, budget_seconds) else "off")


def shall_compile(wanted: str, device: torch.device, budget_seconds: float) -> bool:
    """Return whether a run of such a budget is compiled; raises `CompileError` where it must be and can't."""
    if wanted == "off" or (wanted == "auto" and budget_seconds < REPAYING_SECONDS):
        return False
    missing = missing_compiler(device)
    if missing and wanted == "on":
        raise CompileError(f'`compile` is "on", but {missing}; install it, or set compile = "off"')
    return not missing


def missing_compiler(device: torch.device) -> str | None:
    """Return what compiling for this device would need and this machine lacks."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return None if has_triton() else "Triton is not installed"
    return None if any(map(shutil.which, ("g++", "clang++"))) else "there is no C++ compiler (g++)"
