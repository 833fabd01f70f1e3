"""(a) Tokens per second, memory and MFU of a step: ours beside two plain trainers, interleaved in one run."""

import ctypes
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.config import ModelConfig, TrainConfig
from model.data.batches import Batches
from model.data.tokens import Tokens
from model.network.device import on_device, precision, synchronize
from model.network.flops import flops_per_token
from model.network.transformer import Transformer
from model.training.peak_flops import peak_flops
from model.training.step import Step
from tests.benchmarks.plain import Original, Plain, Shape

VARIANTS = ("ours", "plain compiled", "plain eager", "original eager")
ON_CPU = ("ours in float32", "plain compiled in bfloat16")  # neither is what its author would run there
RATE = 1e-3
Run = Callable[[float], None]


def shapes(device: torch.device) -> list[Shape]:
    """Return the write-up's three winners on a GPU, and what a CPU can run of their kind."""

    def shape(n_layer: int, n_head: int, head_dim: int, vocab_size: int, context: int, batch: int) -> Shape:
        config = ModelConfig(n_layer=n_layer, n_head=n_head, head_dim=head_dim, context=context)
        name = f"{n_layer}L d{config.d_model} {n_head}h {vocab_size // 1024}K, {batch} × {context}"
        return Shape(name, config, vocab_size, batch)

    if device.type == "cuda":
        return [
            shape(32, 6, 32, 12_288, 512, 64),
            shape(12, 4, 64, 6144, 512, 64),
            shape(5, 3, 96, 8192, 512, 64),
        ]
    return [shape(5, 3, 96, 8192, 512, 4), shape(4, 2, 64, 2048, 256, 8), shape(3, 3, 32, 2048, 128, 16)]


def tokens(shape: Shape) -> Tokens:
    """Return documents of made-up tokens: their values don't matter to the speed of a step."""
    lengths = np.random.default_rng(0).integers(50, 2000, 2000)
    starts = np.concatenate(([0], np.cumsum(lengths)))
    ids = np.random.default_rng(1).integers(0, shape.vocab_size, int(starts[-1])).astype(np.uint16)
    return Tokens(ids, starts, lengths)


def make(variant: str, shape: Shape, device: torch.device) -> Run:
    """Return a variant's step, warmed up."""
    text = tokens(shape)
    run: Run
    if variant.startswith("ours"):
        training = TrainConfig(
            batch_size=shape.batch_size,
            micro_batch=shape.batch_size,
            compile="on",
            precision="float32" if variant.endswith("float32") else "auto",
        )
        network = Transformer(shape.config, shape.vocab_size, torch.Generator().manual_seed(0)).to(device)
        step = Step(network, training, budget_seconds=600)
        step.prepare()
        batches = Batches(text, 0, shape.config.context, 0)

        def run(rate: float) -> None:
            step(batches.next(shape.batch_size), rate)

    elif variant.startswith("plain"):
        run = Plain(shape, text.ids, device, compiled="compiled" in variant, bfloat16="bfloat16" in variant)
    else:
        run = Original(shape, text.ids, device)
    for _ in range(3):
        run(RATE)
    synchronize(device)
    return run


def measure(shape: Shape, device: torch.device, rounds: int, seconds: float) -> dict[str, Any]:
    """Return each variant's median tokens per second over rounds in which all take their turn, and its memory."""
    torch.compiler.reset()
    names = [*VARIANTS, *(ON_CPU if device.type == "cpu" else ())]
    memory: dict[str, float] = {}
    with on_device(device):
        runs = {v: _measured(v, shape, device, memory) for v in names}
        steps = interleaved(runs, device, rounds, seconds)
    rates = {v: [r * shape.tokens for r in steps[v]] for v in names}
    flops = flops_per_token(shape.config, shape.vocab_size)
    peaks = {v: peak_flops(device, _dtype(v, shape, device)) for v in names}
    return {
        v: {
            "tokens_per_second": (median := statistics.median(rates[v])),
            "mfu": median * flops / peaks[v],
            "memory_mb": memory[v],
            # Of each round by itself: what else the machine does is then in both.
            "ours_is": statistics.median(a / b for a, b in zip(rates["ours"], rates[v], strict=True)),
        }
        for v in names
    }


def interleaved(runs: Mapping[str, Run], device: torch.device, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return each run's steps per second in each of the rounds, in which all take their turn."""
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            steps = 0
            synchronize(device)
            start = time.perf_counter()
            while time.perf_counter() - start < seconds:
                run(RATE)
                steps += 1
                if steps % 8 == 0:
                    synchronize(device)
            synchronize(device)
            rates[name].append(steps / (time.perf_counter() - start))
    return rates


def _dtype(variant: str, shape: Shape, device: torch.device) -> torch.dtype:
    if device.type == "cuda" or variant == "ours" or "bfloat16" in variant:
        return precision(device, width=shape.config.d_model)
    return torch.float32


def _measured(variant: str, shape: Shape, device: torch.device, memory: dict[str, float]) -> Run:
    """Return a variant's step and note the megabytes that it takes at most.

    On a GPU all of them; on a CPU, in a process of its own, what a step takes beyond weights and optimizer.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run = make(variant, shape, device)
        memory[variant] = (torch.cuda.max_memory_allocated(device) - before) / 1e6
        return run
    index = [s.name for s in shapes(device)].index(shape.name)
    command = [sys.executable, "-m", "tests.benchmarks.steps", variant, str(index), str(torch.get_num_threads())]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    memory[variant] = float(json.loads(done.stdout))
    return make(variant, shape, device)


def _step_memory(variant: str, index: int) -> float:
    """Return the megabytes by which resident memory rises during steps of a variant (Linux)."""
    cpu = torch.device("cpu")
    run = make(variant, shapes(cpu)[index], cpu)
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _status("VmRSS")
    run(RATE)
    return (_status("VmHWM") - before) / 1e3


def _status(key: str) -> int:
    """Return a size of this process in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    lines = ["| shape | variant | tokens/s | MFU | memory, MB | ours is |", "|---|---|---:|---:|---:|---:|"]
    for shape, variants in results.items():
        for name, r in variants.items():
            lines.append(
                f"| {shape} | {name} | {r['tokens_per_second']:,.0f} | {r['mfu']:.1%} | {r['memory_mb']:,.0f} "
                f"| {r['ours_is']:.2f} × |"
            )
    return "\n".join(lines)


if __name__ == "__main__":  # one variant's memory, asked for by `_measured`
    torch.set_num_threads(int(sys.argv[3]))
    print(_step_memory(sys.argv[1], int(sys.argv[2])))
