"""The largest micro-batch that fits into a GPU's memory, foreseen from small eager passes.

Compiling a shape takes tens of seconds; to find out afterwards that it doesn't fit would waste them.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from model.network.device import out_of_memory

EAGER_TO_COMPILED = 1.3
"""Memory of an eager pass's activations ÷ that of the compiled one's: 6.0 ÷ 4.6 GB for 12 layers of 256, 64 × 512."""
SLACK = 1.05
"""Factor on the memory foreseen, for what the allocator loses between blocks."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The most memory that a pass over so many sequences had in use."""

    sequences: int
    bytes: int


def micro_batches(batch_size: int, most: int) -> list[int]:
    """Return the divisors of the batch size up to `most`, the largest first: equal parts have one shape."""
    return [d for d in range(min(batch_size, most), 0, -1) if batch_size % d == 0]


def foreseen(sizes: Sequence[int], lower: Peak, upper: Peak, available_bytes: int) -> int:
    """Return the largest of the sizes (descending) that should fit when compiled; the smallest where none does.

    Memory is linear in sequences: a fixed part (weights, optimizer, workspaces) and the activations of each. Both are
    read off two eager passes; compiling makes the second one smaller.
    """
    apart = max(1, upper.sequences - lower.sequences)
    of_each = max(0, upper.bytes - lower.bytes) / apart
    fixed = lower.bytes - of_each * lower.sequences
    return next((n for n in sizes if SLACK * (fixed + of_each / EAGER_TO_COMPILED * n) <= available_bytes), sizes[-1])


def foresee(
    sizes: Sequence[int], device: torch.device, logits_limit: float, one_pass: Callable[[int], None]
) -> tuple[Peak, Peak] | None:
    """Return the memory peaks of two eager passes, or None where not even one sequence fits.

    Args:
        sizes: micro-batches to choose among, descending.
        device: a GPU.
        logits_limit: sequences whose logits are held at once. Above it they are made in pieces and their memory no
            longer grows, so that the line has to be taken there.
        one_pass: makes a forward and backward pass over so many sequences, eagerly.

    """
    lower = 1
    while lower <= logits_limit and 4 * lower <= sizes[0]:
        lower *= 2
    while lower:
        try:
            one_pass(lower)  # which makes the optimizer's state: both peaks must count it
            return _peak(device, lower, one_pass), _peak(device, min(2 * lower, sizes[0]), one_pass)
        except Exception as error:
            if not out_of_memory(error):
                raise
        give_back(device)  # outside the handler, whose traceback holds the pass's tensors
        lower //= 2
    return None


def _peak(device: torch.device, sequences: int, one_pass: Callable[[int], None]) -> Peak:
    return Peak(sequences=sequences, bytes=peak_bytes(device, lambda: one_pass(sequences)))


def peak_bytes(device: torch.device, work: Callable[[], None]) -> int:
    """Return the most memory in use while the work was handed to the GPU; the allocator counts on the host."""
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return torch.cuda.max_memory_allocated(device)


def available_bytes(device: torch.device) -> int:
    """Return the memory that this process has or could get on the GPU, beside what others hold."""
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)


def give_back(device: torch.device) -> None:
    """Return a GPU's memory that nothing uses any more; what only a cycle of references holds is let go first.

    A captured graph that outlives its run must be gone before the next capture: destroying it later would clear the
    workspaces of the stream, which the next run's graphs use (pytorch #193402).
    """
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
