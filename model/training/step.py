"""One optimizer step, made ready off the clock: micro-batches, compilation, CUDA graphs.

The networks trained here are small: on a GPU launching a step's kernels one by one takes longer than running them. So
blocks and loss are compiled once for their shape, and the whole of a step, the optimizer's part included, is captured
in CUDA graphs.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from model.config import TrainConfig
from model.errors import DeviceMemoryError
from model.evaluate import rehearse
from model.network.device import autocast, maybe_compiled, out_of_memory, precision, synchronize
from model.network.loss import LOGITS_AT_ONCE, batch_loss
from model.network.transformer import Transformer
from model.training.compiling import shall_compile
from model.training.fitting import available_bytes, foresee, foreseen, give_back, micro_batches, peak_bytes
from model.training.float8 import require_float8, use_float8
from model.training.graphs import StepGraphs, on_capture_stream
from model.training.optimizer import Optimizer
from model.training.pacing import Feed

WHOLE_LAYERS = 8
"""Most layers of a network that a CPU compiles as one: 5 to 10% faster steps, 2 to 3 times the time to compile."""


class Step:
    """Calling it with rows (batch, context + 1) and a learning rate makes one step; it never waits for the device.

    `prepare` comes first. Without `graphs` a GPU's kernels are launched one by one, for comparison. Raises
    `CompileError` where compilation is asked for and can't be had.
    """

    def __init__(
        self, network: Transformer, training: TrainConfig, budget_seconds: float, *, graphs: bool = True
    ) -> None:
        self.network, self.training = network, training
        self.device = network.embedding.weight.device
        self.on_gpu = self.device.type == "cuda"
        self.dtype = precision(self.device, training.precision, network.config.d_model)
        if training.precision == "float8":
            require_float8(self.device)
            use_float8(network)
        self.compiled = shall_compile(training.compile, self.device, budget_seconds)
        self.micro_batch = 0
        self.nats = torch.zeros((), dtype=torch.float64, device=self.device)
        """Mean nats of the next tokens, summed over the steps since they were taken."""
        self.optimizer = Optimizer(network, training)
        self._whole = not self.on_gpu and network.config.n_layer <= WHOLE_LAYERS
        self._feed = Feed(self.device)
        self._shall_capture = graphs and self.on_gpu
        self._graphs: StepGraphs | None = None

    @property
    def captured(self) -> bool:
        """Whether steps are replayed from CUDA graphs."""
        return self._graphs is not None

    @property
    def precision(self) -> str:
        """The precision of products in words: that of linear layers, if others have another one."""
        return "float8" if self.training.precision == "float8" else str(self.dtype).removeprefix("torch.")

    @property
    def mode(self) -> str:
        """How steps are run, in words."""
        return " + ".join(["compiled" if self.compiled else "eager", *(["CUDA graphs"] if self.captured else [])])

    def __call__(self, rows: Tensor, rate: float) -> None:
        """Take the step."""
        # The rate is a tensor: a number would be baked into the captured graph.
        self.optimizer.rate.fill_(rate)
        micro_rows = torch.split(self._feed(rows), self.micro_batch)
        if self._graphs is None:
            for micro in micro_rows:
                self._accumulate(micro)
            self.optimizer.step()
            return
        for i, micro in enumerate(micro_rows):
            self._graphs.accumulate(micro, first=i == 0)
        self._graphs.update()

    def take_nats(self) -> float:
        """Return the sum over steps of their mean nats for a next token, and begin anew; waits for the device."""
        nats = float(self.nats)
        self.nats.zero_()
        return nats

    def _accumulate(self, micro: Tensor, *, eagerly: bool = False) -> None:
        """Add the gradient of the batch's mean loss that this micro-batch has a share in."""
        compiled = self.compiled and not eagerly
        loss_of = maybe_compiled(batch_loss, compiled and self._whole)
        with autocast(self.device, self.dtype):
            weights = self.training
            by_blocks = compiled and not self._whole
            loss, nats = loss_of(self.network, micro, weights.mtp_weight, by_blocks, weights.z_loss)
        # Micro-batches are equal parts, so that their mean losses, each times its share, add up to the batch's.
        share = len(micro) / self.training.batch_size
        self.nats.add_(nats, alpha=share)
        torch.autograd.backward(loss * share)

    def prepare(self, most: int | None = None) -> None:
        """Find the largest micro-batch that fits, up to `most`; compile and capture its step; learn nothing.

        On a GPU an evaluation must fit beside it. Raises `DeviceMemoryError` where not even one sequence fits, and
        `CaptureError` where the step can't be captured.
        """
        give_back(self.device)
        sizes = micro_batches(self.training.batch_size, min(most or 2**31, self.training.micro_batch))
        # What fitted once is tried first; else a compiled step is foreseen, for each size tried costs a compilation.
        if self.on_gpu and self.compiled and most is None and len(sizes) > 1:
            sizes = self._foreseen(sizes)
        for size in sizes:
            self.micro_batch = size
            try:
                with self._undone():
                    self._warm_up()
                return
            except Exception as error:
                if not out_of_memory(error):
                    raise
            self._release()  # outside the handler, whose traceback holds the try's tensors
        raise DeviceMemoryError(
            f"not even one sequence of {self.network.config.context} tokens fits into the memory of {self.device} "
            f"beside {sum(p.numel() for p in self.optimizer.parameters):,} parameters"
        )

    def _warm_up(self) -> None:
        rows = self._zeros(self.micro_batch)
        if not self.on_gpu:
            self._accumulate(rows)
            self.optimizer.step()
            return
        with on_capture_stream(self.device):
            # Twice: the first pass compiles kernels and makes the optimizer's state, which no capture may do; the
            # second one finds the allocator as all later ones do.
            for _ in range(2):
                self._accumulate(rows)
                self.optimizer.step()
        synchronize(self.device)
        if self._shall_capture:
            several = self.micro_batch < self.training.batch_size
            step = self.optimizer
            self._graphs = StepGraphs(rows, step.parameters, self._accumulate, step.step, several=several)
        # Graphs never give their memory back: an evaluation has to fit beside them, or the first report would fail.
        rehearse(self.network, self.dtype)

    def _foreseen(self, sizes: list[int]) -> list[int]:
        """Return the sizes that should fit by the memory of small eager passes; those left out are not compiled."""
        config = self.network.config
        logits_limit = LOGITS_AT_ONCE["cuda"] / (config.context * self.network.vocab_size)
        with self._undone():
            available = available_bytes(self.device)
            evaluation = peak_bytes(self.device, lambda: rehearse(self.network, self.dtype))
            evaluation -= torch.cuda.memory_allocated(self.device)
            with on_capture_stream(self.device):
                peaks = foresee(sizes, self.device, logits_limit, self._pass_eagerly)
        self._release()
        if peaks is None:
            return sizes[-1:]
        largest = foreseen(sizes, *peaks, available - evaluation)
        return [n for n in sizes if n <= largest]

    def _pass_eagerly(self, sequences: int) -> None:
        self._accumulate(self._zeros(sequences), eagerly=True)
        self.optimizer.step()

    def _zeros(self, sequences: int) -> Tensor:
        return torch.zeros(sequences, self.network.config.context + 1, dtype=torch.int64, device=self.device)

    def _release(self) -> None:
        """Give back what a try that did not fit has taken."""
        self._graphs = None
        self.optimizer.clear()
        if self.compiled:
            # Every shape counts towards the compiler's limit, past which it silently runs eagerly.
            torch.compiler.reset()
        give_back(self.device)

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
