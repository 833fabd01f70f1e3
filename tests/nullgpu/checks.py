"""What only the null GPU sees, asserted: each check returns what is wrong in words, none where all is well."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from tests.nullgpu import seen, tree

GPU = torch.device("cuda", 0)
SMALL = {"n_layer": 2, "n_head": 4, "head_dim": 32, "context": 128}
MENU: dict[str, dict[str, Any]] = {
    "plain": {},
    "grouped": {"attention": "grouped", "n_kv_head": 2},
    "latent": {"attention": "latent", "projection_dim": 48},
    "window": {"window": 40},
    "alibi": {"positions": "alibi"},
    "window, grouped": {"window": 40, "attention": "grouped", "n_kv_head": 2},
    "alibi in a window, one key head": {"positions": "alibi", "window": 40, "attention": "grouped", "n_kv_head": 1},
    "relu2": {"mlp": "relu2"},
    "swiglu": {"mlp": "swiglu"},
    "qk_norm": {"qk_norm": True},
    "softcap": {"logit_softcap": 20.0},
    "untied": {"tied": False},
    "two heads further on": {"mtp_heads": 2},
    "head_dim 20": {"head_dim": 20},
    "head_dim 20, window": {"head_dim": 20, "window": 40},
    "head_dim 320": {"head_dim": 320, "n_head": 2},
    "context 500": {"context": 500},
    "all at once": {
        "attention": "latent",
        "projection_dim": 48,
        "window": 40,
        "mlp": "swiglu",
        "qk_norm": True,
        "logit_softcap": 20.0,
        "tied": False,
        "mtp_heads": 1,
    },
}
"""Options of the network, each captured eagerly with Muon and compiled with AdamW."""
Faults = list[str]


def menu_entry(name: str, compiled: bool, optimizer: str, **more: Any) -> Faults:
    """Prepare, step and evaluate: nothing forbidden, nothing beside the capture, no float32 product, no wait."""
    options = {**SMALL, **MENU[name], **more.pop("options", {})}
    vocab_size, narrow = more.pop("vocab_size", 1000), more.pop("narrow", False)
    torch.compiler.reset()
    seen.forget()
    training = {"batch_size": 4, "optimizer": optimizer, "compile": "on" if compiled else "off", **more}
    with tree.on_device(GPU):
        net = tree.network(GPU, vocab_size, **options)
        net.narrow_stream = narrow
        step = tree.step(net, **training)
        step.prepare()
        faults = seen.notes().wrong
        if step.mode != f"{'compiled' if compiled else 'eager'} + CUDA graphs":
            faults.append(f'mode is "{step.mode}"')
        rows = tree.rows(step)
        step(rows, tree.RATE)
        torch.cuda.synchronize()
        faults += _of_a_step(lambda: step(rows, tree.RATE))
        seen.forget()
        tree.part("val_bpb")(step.network, tree.text(vocab_size, 3000), 0)
        faults += [f"evaluation: {w}" for w in seen.notes().wrong]
    return faults


def _of_a_step(take: Callable[[], None]) -> Faults:
    seen.forget()
    take()
    notes = seen.notes()
    faults = [*notes.wrong, *(f"in a bfloat16 step: {p}" for p in notes.float32_products)]
    if notes.waits:
        faults.append(f"the host waits in a step: {', '.join(notes.of('wait'))}")
    return faults


def left_over(trials: int, optimizer: str = "adamw", device: torch.device = GPU, **shape: Any) -> Iterator[int]:
    """Yield the bytes that the device holds after each of several trials, everything given back."""
    options = {"n_layer": 4, "n_head": 4, "head_dim": 64, "context": 512, **shape}
    text = tree.corpus(2048)
    for seed in range(trials):
        config = tree.part("ModelConfig")(**options)
        training = tree.part("TrainConfig")(batch_size=32, compile="off", optimizer=optimizer)
        tree.part("train")(
            config, training, text, budget_seconds=0.2, seed=seed, device=device, report_points=(50, 100)
        )
        gc.collect()
        torch.cuda.empty_cache()
        yield seen.used_bytes(device.index)


def memory_after_trials() -> Faults:
    """Ten trials leave no more on the device than one."""
    after = list(left_over(10))
    return [] if after[-1] <= after[0] else [f"{_mb(after[0])} after one trial, {_mb(after[-1])} after ten"]


def memory_after_other_trials() -> Faults:
    """Neither do trials of different shapes and optimizers."""
    shapes: list[dict[str, Any]] = [{}, {"optimizer": "muon"}, {"window": 64}, {"n_layer": 2}, {"context": 256}]
    after = [next(iter(left_over(1, **shape))) for shape in shapes for _ in range(2)]
    return [] if after[-1] <= max(after[:2]) else [f"{_mb(after[0])} after one trial, {_mb(after[-1])} after ten"]


def _mb(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"


def evaluation_fits() -> Faults:
    """Where training fits, so does evaluation beside it: over limits of memory at which the micro-batch changes."""
    faults, text = [], tree.text(6144, 140_000)
    for tenths in range(40, 92, 4):
        gc.collect()
        torch.cuda.empty_cache()
        with seen.limited(tenths / 10), tree.on_device(GPU):
            net = tree.network(GPU, 6144, n_layer=12, n_head=4, head_dim=64, context=512)
            step = tree.step(net, batch_size=64, compile="off")
            step.prepare()
            try:
                tree.part("val_bpb")(net, text, 0)
            except torch.OutOfMemoryError:
                faults.append(f"at {tenths / 10} GB a micro-batch of {step.micro_batch} trains, evaluation runs out")
            del net, step
    return faults


def memory_runs_out() -> Faults:
    """A batch that doesn't fit becomes smaller micro-batches, captured all the same; nothing of the tries is left."""
    seen.forget()
    with seen.limited(1.5), tree.on_device(GPU):
        net = tree.network(GPU, 6144, n_layer=4, n_head=4, head_dim=64, context=512)
        step = tree.step(net, batch_size=64, compile="off")
        step.prepare()
        step(tree.rows(step), tree.RATE)
        torch.cuda.synchronize()
    faults = seen.notes().wrong
    if not 1 <= step.micro_batch < 64 or not step.captured:
        faults.append(f"micro-batch {step.micro_batch}, {step.mode}")
    return faults


def a_lagging_device() -> Faults:
    """A device behind the host: no pinned batch is written before its copy, and the budget is kept."""
    config = tree.part("ModelConfig")(n_layer=2, n_head=2, head_dim=32, context=128)
    training = tree.part("TrainConfig")(batch_size=8, compile="off")
    seen.forget()
    with seen.lagging(50e-6):
        result = tree.part("train")(config, training, tree.corpus(1000), budget_seconds=3.0, seed=0, device=GPU)
    faults = seen.notes().wrong
    per_step = result.train_seconds / result.steps
    if abs(result.train_seconds - 3.0) > 3 * per_step + 0.3:
        faults.append(f"{result.train_seconds:.2f} s of a budget of 3 s, {per_step:.3f} s a step")
    return faults


def the_second_device() -> Faults:
    """cuda:1 captures what cuda:0 does, and takes nothing of cuda:0."""
    faults, kernels = [], []
    for index in (0, 1):
        device = torch.device("cuda", index)
        before = seen.used_bytes(1 - index)
        for optimizer in ("adamw", "muon"):
            seen.forget()
            with _as_a_worker(device):
                net = tree.network(device, 1000, **SMALL)
                step = tree.step(net, batch_size=8, micro_batch=4, compile="off", optimizer=optimizer)
                step.prepare()
                faults += [f"{device}: {w}" for w in seen.notes().wrong]
                seen.forget()
                step(tree.rows(step), tree.RATE)
                torch.cuda.synchronize(device)
            notes = seen.notes()
            kernels.append((step.mode, notes.kernels, notes.of("replay").total()))
            faults += [f"{device}: {w}" for w in notes.wrong]
        if index and seen.used_bytes(0) > before:
            faults.append(f"a trial on {device} takes {_mb(seen.used_bytes(0) - before)} on cuda:0")
    if kernels[:2] != kernels[2:]:
        faults.append(f"mode, kernels and replays of a step are {kernels[:2]} on cuda:0, {kernels[2:]} on cuda:1")
    return faults


@contextmanager
def _as_a_worker(device: torch.device) -> Iterator[None]:
    """Leave nothing of the current device to chance: what is meant must be asked for."""
    torch.cuda.set_device(0)
    with tree.on_device(device):
        yield


def a_broken_capture() -> Faults:
    """A look at a value within a capture is an error that says so, never a silent fall to launching kernels."""
    with tree.on_device(GPU):
        net = tree.network(GPU, 1000, **SMALL)
        step = tree.step(net, batch_size=4, compile="off")
        net.norm.register_forward_hook(_look)
        try:
            step.prepare()
        except Exception as error:
            return [] if "captur" in str(error) else [f"its error hides the cause: {error!r}"]
    return [f'nothing is said; mode is "{step.mode}"']


def _look(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
    float(output.flatten()[0])


def named(group: str) -> dict[str, Callable[[], Faults]]:
    """Return the checks of a group by name."""

    def entry(name: str, compiled: bool, optimizer: str, **more: Any) -> Callable[[], Faults]:
        return lambda: menu_entry(name, compiled, optimizer, **more)

    compiled = {f"{name}, compiled, AdamW": entry(name, True, "adamw") for name in MENU}
    if group == "compiled":
        several = entry("plain", True, "muon", batch_size=8, micro_batch=2)
        narrow = entry("plain", True, "adamw", narrow=True)
        own = {"plain, compiled, Muon, 4 micro-batches": several, "plain, compiled, bfloat16 stream": narrow}
        return {**compiled, **own}
    if group == "eager":
        return {
            **{f"{name}, eager, Muon": entry(name, False, "muon") for name in MENU},
            "plain, eager, AdamW, 4 micro-batches": entry("plain", False, "adamw", batch_size=8, micro_batch=2),
            "plain, eager, averaged": entry("plain", False, "adamw", average_fraction=0.2),
            "plain, eager, loss in pieces": entry(
                "plain", False, "adamw", vocab_size=65_536, batch_size=32, options={"context": 512}
            ),
        }
    groups: dict[str, dict[str, Callable[[], Faults]]] = {
        "memory": {
            "memory after ten trials ≤ after one": memory_after_trials,
            "… of different shapes and optimizers": memory_after_other_trials,
            "a batch that doesn't fit": memory_runs_out,
            "evaluation fits wherever training does": evaluation_fits,
        },
        "pace": {"a device that lags behind": a_lagging_device},
        "devices": {"cuda:1 as cuda:0": the_second_device},
        "broken": {"a capture that fails is an error": a_broken_capture},
    }
    return groups[group]
