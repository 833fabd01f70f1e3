"""Figures of a tree: kernels of a step, memory, compilation. Each measure returns numbers by name."""

import gc
import resource
import time
from collections.abc import Callable
from typing import Any

import torch

from tests.nullgpu import seen, tree
from tests.nullgpu.checks import GPU, left_over

DEEP = {"n_layer": 12, "n_head": 4, "head_dim": 64, "context": 512}
SHAPES = {
    "32L d192 6h 12K": ({"n_layer": 32, "n_head": 6, "head_dim": 32, "context": 512}, 12_288),
    "12L d256 4h 6K": (DEEP, 6144),
    "5L d288 3h 8K": ({"n_layer": 5, "n_head": 3, "head_dim": 96, "context": 512}, 8192),
}
"""The write-up's three winners; batches of 64 × 512."""
Figures = dict[str, int | float | str]


def forbidden() -> Figures:
    """Count what a capture forbids or misses, over a step and its preparation, on two devices."""
    found: Figures = {}
    for index in (0, 1):
        seen.forget()
        device = torch.device("cuda", index)
        with tree.on_device(device):
            net = tree.network(device, 6144, **{**DEEP, "n_layer": 2})
            step = tree.step(net, batch_size=8, compile="off")
            step.prepare()
            step(tree.rows(step), tree.RATE)
            torch.cuda.synchronize(device)
        notes = seen.notes()
        found |= {f"calls on {device}": notes.of("forbidden").total(), f"mode on {device}": step.mode}
        found[f"launches outside a capture on {device}"] = notes.of("outside").total()
    return found


def kernels(batch_size: int, compiled: bool) -> Figures:
    """Count the kernels of a step of 12 layers with either optimizer."""
    adamw, muon = (_of_a_step(batch_size, o, compiled) for o in ("adamw", "muon"))
    return {
        "kernels with AdamW": adamw.kernels,
        "kernels with Muon": muon.kernels,
        "Muon's beyond AdamW's": muon.kernels - adamw.kernels,
        "products with AdamW": adamw.products,
        "products with Muon": muon.products,
        "waits": adamw.waits + muon.waits,
    }


def _of_a_step(batch_size: int, optimizer: str, compiled: bool) -> seen.Notes:
    with tree.on_device(GPU):
        torch.compiler.reset()
        net = tree.network(GPU, 6144, **DEEP)
        step = tree.step(net, batch_size=batch_size, optimizer=optimizer, compile="on" if compiled else "off")
        step.prepare()
        rows = tree.rows(step)
        step(rows, tree.RATE)
        torch.cuda.synchronize()
        seen.forget()
        step(rows, tree.RATE)
    return seen.notes()


def trials(optimizer: str) -> Figures:
    """Count megabytes left on the device by 20 trials."""
    after = [size / 1e6 for size in left_over(20, optimizer)]
    return {"MB left by a trial": (after[-1] - after[0]) / 19, "MB left by trials 2 to 20": after[-1] - after[0]}


def peaks(shape: str, compiled: bool) -> Figures:
    """Measure the most memory allocated in training, and in an evaluation beyond what was there before it."""
    options, vocab_size = SHAPES[shape]
    gc.collect()
    torch.cuda.empty_cache()
    torch.compiler.reset()
    torch.cuda.reset_peak_memory_stats()
    with tree.on_device(GPU):
        net = tree.network(GPU, vocab_size, **options)
        step = tree.step(net, batch_size=64, compile="on" if compiled else "off")
        start, begun = time.perf_counter(), processor_seconds()
        step.prepare()
        seconds, processor = time.perf_counter() - start, processor_seconds() - begun
        step(tree.rows(step), tree.RATE)
        torch.cuda.synchronize()
        reserved = torch.cuda.memory_reserved() / 1e6
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        tree.part("val_bpb")(net, tree.text(vocab_size, 140_000), 0)
        evaluation = (torch.cuda.max_memory_allocated() - before) / 1e6
        grown = torch.cuda.max_memory_reserved() / 1e6 - reserved
    found: Figures = {"MB of training, reserved": reserved, "micro-batch": step.micro_batch}
    if compiled:
        return {**found, "seconds to prepare": seconds, "processor seconds": processor}
    return {**found, "MB of evaluation, allocated": evaluation, "MB reserved for it": grown}


RECURRING: dict[str, tuple[dict[str, Any], int, int]] = {
    "2L d64 1h 1K, 2 × 128, to load the compilers": (
        {"n_layer": 2, "n_head": 1, "head_dim": 64, "context": 128},
        1024,
        2,
    ),
    "12L d256 4h 6K, 64 × 512, caches empty": (DEEP, 6144, 64),
    "5 layers, else the same": ({**DEEP, "n_layer": 5}, 6144, 64),
    "another vocabulary, else the same": (DEEP, 8192, 64),
    "8 sequences, else the same": (DEEP, 6144, 8),
}
"""Shapes that share graphs with one before them, in a process: options, vocabulary, batch."""


def recurring(name: str) -> Figures:
    """Measure what preparing a shape costs where the compilers' caches hold those before it, and what they answered."""
    from torch._dynamo.utils import counters

    options, vocab_size, batch_size = RECURRING[name]
    torch.compiler.reset()
    counters.clear()
    with tree.on_device(GPU):
        net = tree.network(GPU, vocab_size, **options)
        step = tree.step(net, batch_size=batch_size, compile="on")
        start, begun = compile_seconds(), processor_seconds()
        step.prepare()
    compiled, cached = counters["inductor"], counters["aot_autograd"]
    return {
        "seconds of compiling": compile_seconds() - start,
        "processor seconds to prepare": processor_seconds() - begun,
        "graphs compiled": compiled["fxgraph_cache_miss"],
        "graphs found compiled": compiled["fxgraph_cache_hit"],
        "pairs of graphs found whole": cached["autograd_cache_hit"],
        "pairs made": cached["autograd_cache_miss"],
    }


def compile_seconds() -> float:
    """Return the seconds that this process has spent compiling, as torch counts them."""
    from torch._dynamo.utils import calculate_time_spent

    return float(calculate_time_spent()["total_wall_time"])


def too_large(gigabytes: float) -> Figures:
    """Measure what preparing a shape costs whose batch doesn't fit: all, and until the size that fits was begun."""
    spent: list[tuple[int, float, float]] = []

    class Watched(tree.part("Step")):  # type: ignore[misc]
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "micro_batch" and value:
                spent.append((value, compile_seconds(), processor_seconds()))
            super().__setattr__(name, value)

    options = {"n_layer": 32, "n_head": 8, "head_dim": 128, "context": 512}
    with seen.limited(gigabytes), tree.on_device(GPU):
        net = tree.network(GPU, 12_288, **options)
        training = tree.part("TrainConfig")(batch_size=256, micro_batch=64, compile="on")
        step = Watched(net, training, budget_seconds=600.0)
        start, begun = time.perf_counter(), processor_seconds()
        step.prepare()
    return {
        "seconds to prepare": time.perf_counter() - start,
        "seconds of compiling": compile_seconds(),
        "of them for nothing": spent[-1][1],
        "processor seconds": processor_seconds() - begun,
        "processor seconds before the size that fits": spent[-1][2] - begun,
        "sizes tried": len({size for size, _, _ in spent}),
        "micro-batch": step.micro_batch,
        "mode": step.mode,
    }


def processor_seconds() -> float:
    """Return processor seconds of this process and of those that it started; other work on the machine is not in."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(r.ru_utime + r.ru_stime for r in both)


def named(group: str) -> dict[str, Callable[[], Figures]]:
    """Return the measures of a group by name."""
    if group == "kernels":
        return {
            f"12L d256 step, {'compiled' if c else 'eager'}, {b} sequences": _bound(kernels, b, c)
            for c in (False, True)
            for b in (64, 8)
        }
    if group == "peaks":
        return {f"{shape}, 64 × 512, eager": _bound(peaks, shape, False) for shape in SHAPES}
    if group.startswith("compile"):
        return {f"{shape}, 64 × 512, compiled": _bound(peaks, shape, True) for shape in SHAPES}
    others: dict[str, dict[str, Callable[[], Figures]]] = {
        "recurring": {name: _bound(recurring, name) for name in RECURRING},
        "forbidden": {"forbidden": forbidden},
        "trials": {f"20 trials, {o}": _bound(trials, o) for o in ("adamw", "muon")},
        "too-large": {"32L d1024 12K, batch 256, 24 GB": _bound(too_large, 23.6)},
    }
    return others[group]


def _bound(function: Callable[..., Figures], *arguments: Any) -> Callable[[], Figures]:
    return lambda: function(*arguments)
