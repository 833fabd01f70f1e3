"""The self-test passes where all is right, and fails, with a sentence, for each thing that can be wrong."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from model.config import ModelConfig
from model.data.tokens import Tokens
from model.errors import CaptureError, DeviceMemoryError
from model.evaluate import sum_nats
from model.network.transformer import Transformer
from model.training import self_test as module
from model.training.optimizer import Optimizer
from model.training.reference_step import ON_CPU
from model.training.self_test import LARGEST_EVALUATION_DIFFERENCE, LARGEST_LOSS_DIFFERENCE, SelfTest, self_test
from model.training.step import Step
from tests.model.training.stand_in import Gpu, stand_in

# As wide as the CPU's, to which the rates of the steps below belong.
SMALL = dataclasses.replace(ON_CPU, network=ModelConfig(n_layer=1, n_head=2, head_dim=32, context=16), vocab_size=64)
CALL, PREPARE = Step.__call__, Step.prepare


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """A GPU that stands in for one, with a network for CPUs."""
    monkeypatch.setattr(module, "reference_for", lambda device: SMALL)
    monkeypatch.setattr(module, "RUNS", 1)
    with stand_in() as there:
        yield there


def test_a_cpu_passes_with_room_to_spare() -> None:
    found = self_test(torch.device("cpu"), False)
    assert (found.trouble, found.passed, found.mode, found.memory_growth_bytes) == ("", True, "eager", 0)
    assert found.loss_difference == 0.0  # the same steps twice, by the same operations
    assert found.evaluation_difference < LARGEST_EVALUATION_DIFFERENCE / 5
    assert found.table().keys() == {
        "mode",
        "loss_difference",
        "evaluation_difference",
        "memory_growth_bytes",
        "seconds",
    }


def test_a_gpu_passes_with_cuda_graphs(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RUNS", 3)
    found = self_test(gpu.device, False)
    assert (found.trouble, found.mode) == ("", "eager + CUDA graphs")
    assert found.loss_difference < LARGEST_LOSS_DIFFERENCE / 5
    assert gpu.events["captures"] == 3 * 3  # three runs, each of a first and a further micro-batch and the update
    assert gpu.events["replays"] == 3 * 10 * 3


def without_moving_rate(step: Step, rows: torch.Tensor, rate: float) -> None:
    CALL(step, rows, 1e-3 if step.captured else rate)


def with_one_step_lost(step: Step, rows: torch.Tensor, rate: float) -> None:
    lost = step.captured and abs(rate - 5e-3) < 1e-9
    CALL(step, rows, 0.0 if lost else rate)


def with_rows_left(step: Step, rows: torch.Tensor, rate: float) -> None:
    CALL(step, torch.full_like(rows, 3) if step.captured else rows, rate)


def with_half_of_the_gradient(step: Step, rows: torch.Tensor, rate: float) -> None:
    """The second micro-batch's gradients replace those of the first, while the loss is of both."""
    step.optimizer.rate.fill_(rate)
    for i, micro in enumerate(torch.split(rows, step.micro_batch)):
        if i and step.captured:
            step.optimizer.clear()
        step._accumulate(micro)
    step.optimizer.step()


@pytest.mark.parametrize(
    "broken",
    [without_moving_rate, with_one_step_lost, with_rows_left, with_half_of_the_gradient],
    ids=lambda f: f.__name__,
)
def test_steps_that_differ_from_eager_ones_fail(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, broken: Callable[..., None]
) -> None:
    monkeypatch.setattr(Step, "__call__", broken)
    found = self_test(gpu.device, False)
    assert found.trouble.startswith("steps run as a trial's (eager + CUDA graphs) have losses up to ")
    assert found.trouble.endswith("from those of eager steps")
    assert found.loss_difference > 1.5 * LARGEST_LOSS_DIFFERENCE


def test_a_warm_up_that_is_not_undone_fails(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(step: Step, most: int | None = None) -> None:
        PREPARE(step, most)
        if step.captured:
            step.optimizer.rate.fill_(1e-3)
            for _ in range(2):
                step._accumulate(step._zeros(step.micro_batch))
                step.optimizer.step()
            step.nats.zero_()

    monkeypatch.setattr(module, "reference_for", lambda device: ON_CPU)  # a smaller network is moved by too little
    monkeypatch.setattr(Step, "prepare", prepare)
    assert "have losses up to" in self_test(gpu.device, False).trouble


def test_steps_without_graphs_fail(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Step", lambda *given, graphs, **named: Step(*given, graphs=False, **named))
    assert self_test(gpu.device, False).trouble == 'steps run as "eager", without CUDA graphs'


def test_a_capture_that_fails_is_the_trouble(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    update = Optimizer.step

    def look(optimizer: Optimizer) -> None:
        update(optimizer)
        if gpu.capture is not None:
            float(optimizer.rate)

    monkeypatch.setattr(Optimizer, "step", look)
    trouble = self_test(gpu.device, False).trouble
    assert trouble.startswith("a training step could not be captured as a CUDA graph on cuda:0: ")
    assert "operation not permitted when stream is capturing" in trouble


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (DeviceMemoryError("not even one sequence fits"), "not even one sequence fits"),
        (CaptureError("it can't be captured."), "it can't be captured"),
        (RuntimeError("no kernel image is available\nfor execution"), "RuntimeError: no kernel image is available"),
        (torch.OutOfMemoryError("CUDA out of memory."), "OutOfMemoryError: CUDA out of memory"),
    ],
)
def test_errors_are_told_in_a_line(monkeypatch: pytest.MonkeyPatch, error: Exception, trouble: str) -> None:
    def fail(*given: Any) -> None:
        raise error

    monkeypatch.setattr(Step, "prepare", fail)
    assert self_test(torch.device("cpu"), False).trouble == trouble


def test_an_evaluation_that_differs_from_the_cpus_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def nats(network: Transformer, text: Tokens, separator: int, dtype: torch.dtype | None = None) -> float:
        return sum_nats(network, text, separator, dtype=dtype) * (1 if dtype else 1.02)

    monkeypatch.setattr(module, "sum_nats", nats)
    trouble = self_test(torch.device("cpu"), False).trouble
    assert trouble.startswith("an evaluation differs by 2.0%")
    monkeypatch.setattr(module, "sum_nats", lambda *given, dtype=None: 1.0 if dtype else float("nan"))
    assert self_test(torch.device("cpu"), False).trouble.startswith("an evaluation differs by inf%")


def test_memory_that_grows_with_each_run_fails(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RUNS", 3)
    held = iter([500_000_000, 536_000_000, 572_000_000])
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: next(held))
    found = self_test(gpu.device, False)
    assert found.trouble == "3 runs leave 72 MB more of its memory taken than one"


def test_only_what_passed_is_called_so() -> None:
    assert SelfTest().passed
    assert not SelfTest(trouble="something").passed
