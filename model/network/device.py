"""What differs between a CPU and a CUDA GPU: precision, compilation, memory, copies, how far the host runs ahead."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch._functorch.config

NARROW = 64
"""Networks below this width are not faster in bfloat16 on a CPU when run eagerly: their time is not in products."""


def precision(device: torch.device, wanted: str = "auto", width: int = NARROW) -> torch.dtype:
    """Return the type of matrix products: what is wanted, or bfloat16 where the device has instructions for it.

    Beside float8, which is for some of them, it is that of all others: bfloat16.

    A rule and not a measurement of each run, so that every worker of a kind decides alike; the measurements behind
    it are in docs/measurements.md.
    """
    if wanted != "auto":
        return torch.float32 if wanted == "float32" else torch.bfloat16
    if device.type == "cuda":
        # Asked of this device, not of the current one; from compute capability 8.0 on.
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float32
    has = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    able = width >= NARROW and any(f() for f in has if f is not None)
    return torch.bfloat16 if able else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return the context in which a network runs in this precision."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    # By default torch keeps no compiled graph with an autograd function of one's own in it, as our loss in pieces is.
    # Both of that function's passes are part of the kept graph's key.
    torch._functorch.config.autograd_cache_allow_custom_autograd_functions = True
    # Shapes never change within a run; whoever trains another one resets the compiler first.
    return torch.compile(function, dynamic=False)


def maybe_compiled(function: Callable[..., Any], compiled: bool) -> Callable[..., Any]:
    """Return the function, or its compiled form."""
    return _compiled(function) if compiled else function


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out; any other one is a fault and stays one."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    # The CPU's allocator and the GPU's libraries have no class of their own for it.
    said = ("DefaultCPUAllocator: can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory")
    return isinstance(error, RuntimeError) and any(s in str(error) for s in said)


@contextlib.contextmanager
def on_device(device: torch.device) -> Iterator[None]:
    """Compute on this device for the length of a block; whatever trains or evaluates does so within one.

    A GPU is made the current one: torch captures CUDA graphs on a stream of the current device, and work for any other
    would escape the capture. TF32 is allowed for what autocast leaves in float32. Attention is kept off cuDNN, which
    torch prefers on an H100: its backward pass gives NaN there under some masks (pytorch #196678).
    """
    if device.type != "cuda":
        yield
        return
    precision_before = torch.get_float32_matmul_precision()
    cudnn_before: bool = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    with torch.cuda.device(device):
        torch.set_float32_matmul_precision("high")
        torch.backends.cuda.enable_cudnn_sdp(False)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(precision_before)
            torch.backends.cuda.enable_cudnn_sdp(cudnn_before)


def synchronize(device: torch.device) -> None:
    """Wait for the work that was handed to the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
