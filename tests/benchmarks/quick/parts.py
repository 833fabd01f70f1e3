"""The quick parts, the weightiest first. Each is whole by itself and runs in a process of its own."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from model.config import TrainConfig
from model.network import loss, transformer
from model.network.device import on_device
from model.training.self_test import self_test as worker_self_test
from model.training.train import train
from tests.benchmarks.plain import Plain, Shape
from tests.benchmarks.quick.scale import Figures, Part, Rows, Scale
from tests.benchmarks.quick.variants import Variant, compared, few, held_mb
from tests.benchmarks.steps import tokens
from tests.benchmarks.trials import PROXY_SECONDS


def self_test(scale: Scale) -> Rows:
    """Run the self-test that every worker passes before its first claim."""
    result = worker_self_test(scale.device, compiled=scale.compile == "on")
    yield "self-test", {"verdict": result.trouble or "passed", **{k: _plain(v) for k, v in vars(result).items()}}


def _plain(value: Any) -> float | int | str:
    return value if isinstance(value, int | float | str) else str(value)


def beside_plain(scale: Scale, key: str) -> Rows:
    """Compare our step with a plain loop, compiled and eager, at a shape."""
    shape = scale.shapes[key]
    ids = np.asarray(tokens(shape).ids)
    with on_device(scale.device):
        runs: dict[str, Callable[[float], None]] = {
            "ours": Variant(scale, shape),
            "plain eager": Plain(shape, ids, scale.device, compiled=False),
        }
        yield from _named(shape.name, compared(scale, shape, runs))  # in case the plain loop's compilation is cut off
        start = time.perf_counter()
        plain = Plain(shape, ids, scale.device, compiled=scale.compile == "on")
        plain(0.0)
        seconds = time.perf_counter() - start
        found = compared(scale, shape, {"ours": runs["ours"], "plain compiled": plain})
        yield f"{shape.name}: plain compiled", {**found["plain compiled"], "prepare, s": seconds}


def _named(title: str, found: dict[str, Figures]) -> Rows:
    for name, figures in found.items():
        yield f"{title}: {name}", figures


def graphs(scale: Scale) -> Rows:
    """Compare steps replayed from CUDA graphs with the same steps launched one by one."""
    for shape in (few(scale, scale.middle), scale.middle):
        with on_device(scale.device):
            runs = {"graphs": Variant(scale, shape), "none": Variant(scale, shape, graphs=False)}
            yield from _named(f"{shape.batch_size} sequences", compared(scale, shape, runs))


def optimizers(scale: Scale) -> Rows:
    """Compare AdamW and Muon."""
    for shape in (few(scale, scale.middle), scale.middle):
        with on_device(scale.device):
            runs = {o: Variant(scale, shape, optimizer=o) for o in ("adamw", "muon")}
            yield from _named(f"{shape.batch_size} sequences", compared(scale, shape, runs))


def stream(scale: Scale) -> Rows:
    """Compare the residual stream in float32 and in bfloat16, and a network whose two ends are launched as they are."""
    for shape in (scale.middle, scale.shapes["deep"]):
        with on_device(scale.device):
            runs = {"float32": Variant(scale, shape), "bfloat16": Variant(scale, shape, narrow=True)}
            runs["float32, ends not compiled"] = _ends_not_compiled(scale, shape)
            yield from _named(shape.name, compared(scale, shape, runs))


def _ends_not_compiled(scale: Scale, shape: Shape) -> Variant:
    switches: Any = transformer
    before = switches.COMPILED_ENDS
    switches.COMPILED_ENDS = False  # read while a step is prepared, captured with it
    try:
        return Variant(scale, shape)
    finally:
        switches.COMPILED_ENDS = before


def micro_batches(scale: Scale) -> Rows:
    """Compare micro-batches of one batch."""
    shape = scale.middle
    sizes = [n for n in (64, 32, 16, 8, 4, 2) if n <= shape.batch_size][:4]
    with on_device(scale.device):
        yield from _named(
            "micro-batch", compared(scale, shape, {str(n): Variant(scale, shape, micro_batch=n) for n in sizes})
        )


def logits(scale: Scale) -> Rows:
    """Compare how many logits are held at once, where a loss in pieces costs most: a large vocabulary."""
    shape, kind = scale.shapes["shallow"], scale.device.type
    before = loss.LOGITS_AT_ONCE[kind]
    runs = dict[str, Variant]()
    try:
        with on_device(scale.device):
            for number in scale.logits:
                loss.LOGITS_AT_ONCE[kind] = number  # read while a step is prepared, captured with it
                runs[f"2^{number.bit_length() - 1}"] = Variant(scale, shape)
            yield from _named("logits at once", compared(scale, shape, runs))
    finally:
        loss.LOGITS_AT_ONCE[kind] = before


def trials_memory(scale: Scale) -> Rows:
    """Watch what ten trials leave on the GPU, every other one with Muon."""
    shape = few(scale, scale.middle)
    text = scale.text(shape.vocab_size)
    for number in range(1, 11):
        optimizer = "muon" if number % 2 == 0 else "adamw"
        training = TrainConfig(batch_size=shape.batch_size, compile="off", optimizer=optimizer)
        budget = {"budget_seconds": scale.trial_seconds, "seed": number, "device": scale.device}
        result = train(shape.config, training, text, report_points=(50, 100), report_bytes=65_536, **budget)  # type: ignore[arg-type]
        mode, steps = result.mode, result.steps
        del result
        yield (
            f"after trial {number}",
            {"MB held": held_mb(scale.device), "optimizer": optimizer, "steps": steps, "mode": mode},
        )


def warm_compilation(scale: Scale) -> Rows:
    """Prepare the three shapes again, in a process that finds the compilers' caches filled."""
    for shape in scale.shapes.values():
        torch.compiler.reset()
        with on_device(scale.device):
            variant = Variant(scale, shape)
        yield f"{shape.name}, the second process", {"prepare, s": variant.prepare_seconds, "mode": variant.step.mode}


def proxy(scale: Scale) -> Rows:
    """Train a proxy and account for every second of it."""
    shape = scale.middle
    text = scale.text(shape.vocab_size)
    training = TrainConfig(batch_size=shape.batch_size, micro_batch=shape.batch_size, compile=scale.compile)
    result = train(shape.config, training, text, budget_seconds=scale.proxy_seconds, seed=0, device=scale.device)
    overhead = result.total_seconds - result.train_seconds
    yield (
        shape.name,
        {
            "budget used": result.train_seconds / scale.proxy_seconds,
            "start, s": result.startup_seconds,
            "prepare, s": result.compile_seconds,
            "evaluate, s": result.evaluate_seconds,
            "beside the budget, s": overhead,
            "of 6 minutes": overhead / PROXY_SECONDS,
            "MFU": result.mfu,
            "val_bpb": result.val_bpb or 0.0,
            "mode": result.mode,
        },
    )


def _beside(key: str, question: str, seconds: int) -> Part:
    return Part(name=f"step-{key}", question=question, seconds=seconds, rows=lambda scale: beside_plain(scale, key))


PARTS = (
    Part(name="self-test", question="Does the GPU compute what it should?", seconds=45, rows=self_test),
    _beside("middle", "How fast is a step of 12 layers, beside plain loops?", 65),
    Part(name="graphs", question="What are CUDA graphs worth, at 8 and 64 sequences?", seconds=60, rows=graphs),
    _beside("shallow", "How fast is a step of 5 layers, beside plain loops?", 50),
    Part(name="memory", question="What do ten trials leave on the GPU?", seconds=50, rows=trials_memory),
    _beside("deep", "How fast is a step of 32 layers, beside plain loops?", 110),
    Part(name="muon", question="What does Muon cost?", seconds=60, rows=optimizers),
    Part(name="stream", question="What is a bfloat16 residual stream worth?", seconds=95, rows=stream),
    Part(
        name="compile",
        question="How long does a warm compilation take? (cold: above)",
        seconds=40,
        rows=warm_compilation,
    ),
    Part(name="proxy", question="What does a proxy cost beside its budget?", seconds=110, rows=proxy),
    Part(name="micro-batch", question="Which micro-batch is fastest?", seconds=80, rows=micro_batches),
    Part(name="logits", question="How many logits at once are fastest?", seconds=70, rows=logits),
)
"""By worth: the first four fit into 4 minutes, the first seven into 8, all into 14."""
