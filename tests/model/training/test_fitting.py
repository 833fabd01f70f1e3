"""What fits into a GPU's memory: foreseen by a line through two small passes, tried, and lowered where it runs out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import model.network.device
import model.network.loss
from model.config import ModelConfig, TrainConfig
from model.errors import DeviceMemoryError
from model.evaluate import rehearse
from model.network.transformer import Transformer
from model.training.fitting import EAGER_TO_COMPILED, SLACK, Peak, foresee, foreseen, micro_batches, peak_bytes
from model.training.step import Step
from tests.model.training.stand_in import Gpu, stand_in

VOCAB, CONTEXT = 61, 16
SIZES = [64, 32, 16, 8, 4, 2, 1]
GIB = 2**30


def test_micro_batches_divide_the_batch() -> None:
    assert micro_batches(12, 8) == [6, 4, 3, 2, 1]
    assert micro_batches(7, 64) == [7, 1]


@pytest.mark.parametrize(
    ("available_gib", "expected"), [(1000.0, 64), (67.0, 64), (66.0, 32), (35.0, 32), (3.5, 1), (0.5, 1)]
)
def test_memory_is_foreseen_on_a_line(available_gib: float, expected: int) -> None:
    """By hand: 2 GiB + 1.3 GiB for each sequence, which compiled are 1 GiB: 66 GiB for 64, 34 GiB for 32."""
    assert EAGER_TO_COMPILED == 1.3
    lower, upper = Peak(sequences=2, bytes=round(4.6 * GIB)), Peak(sequences=4, bytes=round(7.2 * GIB))
    assert foreseen(SIZES, lower, upper, round(SLACK * available_gib * GIB)) == expected


def test_a_single_sequence_has_no_line() -> None:
    peak = Peak(sequences=1, bytes=GIB)
    assert foreseen([1], peak, peak, 2 * GIB) == 1


@pytest.mark.parametrize(
    ("logits_limit", "most", "fits", "expected"),
    [
        (0.5, 64, 64, (1, 2)),  # one sequence's logits are already in pieces
        (4, 64, 64, (8, 16)),  # beyond four their memory no longer grows
        (1000, 64, 64, (32, 64)),
        (1000, 64, 5, (2, 4)),  # what doesn't fit is halved
        (1000, 1, 64, (1, 1)),
        (1000, 64, 0, None),
    ],
)
def test_peaks_are_taken_where_logits_no_longer_grow(
    logits_limit: float, most: int, fits: int, expected: tuple[int, int] | None
) -> None:
    with stand_in(limited=True) as gpu:

        def one_pass(sequences: int) -> None:
            if sequences > fits:
                raise torch.OutOfMemoryError
            torch.zeros(sequences * 1000, dtype=torch.uint8)

        peaks = foresee([n for n in SIZES if n <= most], gpu.device, logits_limit, one_pass)
    wanted = None if expected is None else tuple(Peak(sequences=n, bytes=1000 * n) for n in expected)
    assert peaks == wanted


def test_a_fault_of_a_pass_stays_one() -> None:
    def one_pass(sequences: int) -> None:
        raise RuntimeError("shapes don't match")

    with stand_in() as gpu, pytest.raises(RuntimeError, match="shapes don't match"):
        foresee(SIZES, gpu.device, 1, one_pass)


def new_step(**training: Any) -> Step:
    config = ModelConfig(n_layer=1, n_head=2, head_dim=8, context=CONTEXT)
    network = Transformer(config, VOCAB, torch.Generator().manual_seed(0))
    settings = TrainConfig(**{"batch_size": 8, "micro_batch": 8, "precision": "float32", **training})
    return Step(network, settings, budget_seconds=1.0)


def scarce(gpu: Gpu, monkeypatch: pytest.MonkeyPatch, sequences: int, when: Callable[[Step], bool]) -> Step:
    """Return a step of which a pass of more sequences than these finds no memory at certain times."""
    step = new_step()
    gpu.largest_bytes = 0
    busy: list[int] = []
    real = Step._accumulate

    def noted(self: Step, micro: Tensor, **options: Any) -> None:
        busy.append(len(micro))
        try:
            real(self, micro, **options)
        finally:
            busy.pop()

    monkeypatch.setattr(Step, "_accumulate", noted)
    gpu.fits = lambda: not busy or busy[-1] <= sequences or not when(step)
    return step


@pytest.mark.parametrize("capturing", [False, True], ids=["warm-up", "capture"])
def test_memory_that_runs_out_makes_micro_batches_smaller(capturing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with stand_in(limited=True) as gpu:
        step = scarce(gpu, monkeypatch, 2, lambda step: (gpu.capture is not None) == capturing)
        step.prepare()
        assert step.micro_batch == 2
        assert step.captured
        assert gpu.stream is gpu.default
    assert gpu.events["out of memory"] == 2  # of eight and of four sequences
    assert gpu.events["caches emptied"] == 3


def test_what_leaves_no_room_for_an_evaluation_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation beside the graphs of eight sequences finds no memory, beside those of four it does."""
    with stand_in(limited=True) as gpu:
        step = new_step()
        gpu.largest_bytes = 4 * VOCAB * CONTEXT * 8  # training's largest tensor, smaller than an evaluation's
        gpu.fits = lambda: not step.captured or step.micro_batch <= 4
        step.prepare()
        assert (step.micro_batch, gpu.events["out of memory"]) == (4, 1)


def test_where_nothing_fits_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with stand_in(limited=True) as gpu:
        step = scarce(gpu, monkeypatch, 0, lambda step: True)
        with pytest.raises(DeviceMemoryError, match=r"not even one sequence of 16 tokens fits .* memory of cuda:0"):
            step.prepare()


def compiled_step(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> tuple[Step, list[int]]:
    """Return a step that counts as compiled, and a list of the sizes that would have been."""
    sizes: list[int] = []

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        sizes.append(step.micro_batch)
        return function

    monkeypatch.setattr(model.network.device, "_compiled", compiled)
    monkeypatch.setattr(torch.compiler, "reset", lambda: gpu.events.update(["compiler resets"]))
    step = new_step()
    step.compiled = True
    return step, sizes


def passes_bytes(sequences: int) -> int:
    """Return what one eager pass makes: the measure of the stand-in, which frees nothing."""
    with stand_in(limited=True) as gpu:
        step = new_step()
        step._pass_eagerly(1)
        gpu.made_bytes = 0
        step._pass_eagerly(sequences)
        return gpu.made_bytes


@pytest.mark.parametrize("expected", [8, 4, 2])
def test_only_a_micro_batch_that_should_fit_is_compiled(expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 8, 4, 2 and 1 sequences: the GPU's memory is what the expected one and an evaluation take, and a little."""
    two, one = passes_bytes(2), passes_bytes(1)
    of_each, fixed = two - one, 2 * one - two
    with stand_in(limited=True) as gpu:
        step, sizes = compiled_step(gpu, monkeypatch)
        evaluation = peak_bytes(gpu.device, lambda: rehearse(step.network, step.dtype))
        gpu.memory_bytes = evaluation + int(SLACK * (fixed + (expected + 0.5) * of_each / EAGER_TO_COMPILED))
        before = [p.detach().clone() for p in step.network.parameters()]
        step.prepare()
        assert all(torch.equal(a, b) for a, b in zip(before, step.network.parameters(), strict=True))
    assert step.micro_batch == expected
    assert set(sizes) == {expected}
    assert gpu.events["compiler resets"] == 1


def test_what_fitted_before_is_compiled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with stand_in(limited=True, memory_bytes=1) as gpu:
        step, sizes = compiled_step(gpu, monkeypatch)
        step.prepare(most=4)
    assert set(sizes) == {step.micro_batch} == {4}


def test_where_not_even_one_sequence_fits_eagerly_the_smallest_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with stand_in(limited=True) as gpu:
        step, sizes = compiled_step(gpu, monkeypatch)

        def no_memory(sequences: int) -> None:
            raise torch.OutOfMemoryError

        monkeypatch.setattr(step, "_pass_eagerly", no_memory)
        step.prepare()
    assert set(sizes) == {1}
