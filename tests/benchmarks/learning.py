"""(c) Bits per byte after equal seconds of training: ours beside the plain loop, several seeds, on real text."""

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import TrainConfig
from model.data.corpus import Corpus
from model.network.device import on_device, synchronize
from model.schedule import learning_rate
from model.training.train import train
from tests.benchmarks.plain import Plain, Shape
from tests.benchmarks.trials import corpus

TRAINING = TrainConfig(max_lr=3e-3)
SCHEDULE = {k: getattr(TRAINING, k) for k in ("pct_start", "div_factor", "final_div_factor", "decay_fraction")}


@torch.inference_mode()
def bits_per_byte(forward: Callable[[Tensor], Tensor], data: Corpus, context: int, device: torch.device) -> float:
    """Return the BPB of any network by the project's protocol, in float32, written without the project's code."""
    validation = data.validation
    stream = np.concatenate(([data.tokenizer.separator], validation.ids)).astype(np.int64)
    nats = 0.0
    for i in range(0, len(stream) - 1, 16 * context):
        part = torch.from_numpy(stream[i : i + 16 * context + 1]).to(device)
        whole = (len(part) - 1) // context * context
        pieces = [(part[:whole].view(-1, context), part[1 : whole + 1])] if whole else []
        if whole < len(part) - 1:
            pieces.append((part[whole:-1][None], part[whole + 1 :]))
        for x, y in pieces:
            nats += float(F.cross_entropy(forward(x).flatten(0, 1).float(), y, reduction="sum"))
    return nats / (math.log(2) * int(validation.text_bytes.sum()))


def plain(shape: Shape, data: Corpus, seconds: float, seed: int, device: torch.device, max_lr: float) -> float:
    """Train the compiled plain loop for its budget, its compilation off the clock as ours is; return its BPB."""
    torch.compiler.reset()
    loop = Plain(shape, np.asarray(data.train.ids), device, compiled=True, seed=seed)
    weights = {k: v.clone() for k, v in loop.network.state_dict().items()}
    with on_device(device):
        for _ in range(3):
            loop(0.0)
        loop.network.load_state_dict(weights)
        loop.optimizer.state.clear()
        synchronize(device)
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            loop(learning_rate("one_cycle", elapsed / seconds, max_lr=max_lr, **SCHEDULE))
            if device.type == "cuda":
                synchronize(device)  # or the host would queue steps far past the end
        return bits_per_byte(loop.network, data, shape.config.context, device)


def ours(shape: Shape, data: Corpus, seconds: float, seed: int, device: torch.device, max_lr: float) -> float:
    """Train ours for the same budget and return its BPB, measured by the same function."""
    training = TrainConfig(
        batch_size=shape.batch_size, micro_batch=shape.batch_size, max_lr=max_lr, compile="on", grad_clip=1.0
    )
    points = (100,)
    result = train(shape.config, training, data, budget_seconds=seconds, seed=seed, device=device, report_points=points)
    return bits_per_byte(result.network, data, shape.config.context, device)


def measure(shape: Shape, device: torch.device, seconds: float, seeds: int, text: str) -> dict[str, Any]:
    """Return both trainers' BPB for each seed, run in turn, each at its better one of two learning rates."""
    data = corpus(text, shape.vocab_size)
    found: dict[str, Any] = {"shape": shape.name, "seconds": seconds, "unigram_bpb": data.unigram_bpb}
    for name, run in (("ours", ours), ("plain compiled", plain)):
        tried = {lr: run(shape, data, seconds / 2, 99, device, lr) for lr in (1e-3, 3e-3)}
        found[name] = {"max_lr": min(tried, key=lambda lr: tried[lr]), "bpb": []}
    for seed in range(seeds):
        for name, run in (("ours", ours), ("plain compiled", plain)):
            found[name]["bpb"].append(run(shape, data, seconds, seed, device, found[name]["max_lr"]))
    return found


def table(found: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = [
        f"{found['shape']}, {found['seconds']:.0f} s of training; unigram {found['unigram_bpb']:.4f} BPB",
        "",
        "| trainer | max_lr | BPB by seed | mean | deviation |",
        "|---|---:|---|---:|---:|",
    ]
    for name in ("ours", "plain compiled"):
        bpb = found[name]["bpb"]
        spread = statistics.stdev(bpb) if len(bpb) > 1 else math.nan
        each = ", ".join(f"{b:.4f}" for b in bpb)
        lines.append(f"| {name} | {found[name]['max_lr']} | {each} | {statistics.mean(bpb):.4f} | {spread:.4f} |")
    return "\n".join(lines)
