"""Whole runs on the GPU that stands in for one, against the same runs on the CPU."""

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import model.training.reference_step
from model.config import ModelConfig, TrainConfig
from model.data.batches import Batches
from model.data.corpus import Corpus
from model.errors import CompileError, DeviceMemoryError
from model.network.device import precision
from model.training import peak_flops
from model.training.clock import Clock
from model.training.compiling import missing_compiler, shall_compile
from model.training.micro_batches import MicroBatches
from model.training.pacing import Pace
from model.training.reference_step import Reference, reference_tokens_per_second
from model.training.result import Result
from model.training.train import train
from tests.model.training.stand_in import Event, stand_in
from tests.model.training.test_train import World

CPU, GPU, SECOND = torch.device("cpu"), torch.device("cuda", 0), torch.device("cuda", 1)
TINY = ModelConfig(n_layer=1, n_head=1, head_dim=16, context=32)
SETTINGS = TrainConfig(
    batch_size=4,
    micro_batch=2,
    max_lr=3e-3,
    div_factor=1,
    final_div_factor=1,
    precision="float32",
    average_fraction=0.3,
)


@pytest.fixture(scope="module")
def small(corpus: Corpus) -> Corpus:
    return dataclasses.replace(corpus, validation=corpus.validation.subset(3000))


def run(corpus: Corpus, clock: Clock, device: torch.device, **options: Any) -> Result:
    options = {"budget_seconds": 20.0, "report_points": (50, 100), "report_bytes": 2000, "seed": 0, **options}
    return train(TINY, SETTINGS, corpus, clock=clock, device=device, **options)


class Lagging:
    """A clock by which each step takes the GPU a second, and which the host sees move only where it waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.launched = self.finished = 0
        fetch, wait, settle = Batches.next, Event.synchronize, Pace.settle

        def launched(batches: Batches, batch_size: int) -> torch.Tensor:
            self.launched += 1
            return fetch(batches, batch_size)

        def waited(event: Event) -> None:
            wait(event)
            if event.recorded:
                self.finished = max(self.finished, self.launched - 1)

        def settled(pace: Pace) -> None:
            settle(pace)
            self.finished = self.launched

        monkeypatch.setattr(Batches, "next", launched)
        monkeypatch.setattr(Event, "synchronize", waited)
        monkeypatch.setattr(Pace, "settle", settled)

    def __call__(self) -> float:
        return float(self.finished)


def test_a_run_on_the_second_gpu_is_the_cpus(small: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As many steps, though the GPU is always one behind, and the same weights, averaged over the same steps."""
    with monkeypatch.context() as patch:
        expected = run(small, World(patch, itertools.repeat(1.0)), CPU)
    with stand_in(1) as gpu:
        result = run(small, Lagging(monkeypatch), SECOND, micro_batches=MicroBatches(tmp_path))
        assert result.mode == "eager + CUDA graphs"
        assert gpu.current == 0
    assert result.steps == expected.steps == 20
    assert result.val_bpb == pytest.approx(expected.val_bpb, rel=1e-5)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("evaluating", [False, True], ids=["mid-run", "evaluation"])
def test_memory_that_runs_out_later_has_the_micro_batch_found_anew(
    evaluating: bool, small: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is taken away when three steps have been made."""
    clock = World(monkeypatch, itertools.repeat(1.0))
    with stand_in(limited=True) as gpu:
        gpu.largest_bytes = 0
        gpu.fits = lambda: clock.now <= 3 or torch.is_inference_mode_enabled() != evaluating
        with pytest.raises(DeviceMemoryError, match=r"memory of cuda:0 ran out after \d+ steps") as error:
            run(small, clock, GPU, micro_batches=MicroBatches(tmp_path))
    assert ("after 3 steps" in str(error.value)) != evaluating
    assert list(tmp_path.iterdir()) == []


def test_the_reference_step_is_captured_and_its_memory_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Reference(network=TINY, vocab_size=61, batch_size=2, rounds=3, round_seconds=0.04)
    monkeypatch.setattr(model.training.reference_step, "ON_GPU", tiny)
    ticks = itertools.count()
    with stand_in() as gpu:
        assert reference_tokens_per_second(GPU, lambda: float(next(ticks))) == tiny.tokens == 64
    assert (gpu.events["captures"], gpu.events["caches emptied"]) == (2, 2)


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 4090 D", 147.1),
        ("NVIDIA L40", 181.0),
        ("NVIDIA L40S", 362.1),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA GH200 480GB", 989.4),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("A card of tomorrow", None),
    ],
)
def test_a_gpu_is_known_by_its_whole_name(name: str, teraflops: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_flops, "_measured", lambda *_: math.nan)
    with stand_in(name=name):
        peak = peak_flops.peak_flops(GPU, torch.bfloat16)
    assert math.isnan(peak) if teraflops is None else peak == pytest.approx(teraflops * 1e12)


def test_an_unknown_gpu_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peak_flops.SIDES, "cuda", 64)
    peak_flops._measured.cache_clear()
    with stand_in() as gpu:
        assert 0 < peak_flops.peak_flops(GPU, torch.float32) < math.inf
    assert gpu.events["synchronized"] == 10
    peak_flops._measured.cache_clear()


def test_bfloat16_is_asked_of_the_device_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    capabilities = {GPU: (7, 5), SECOND: (8, 9)}
    with stand_in():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capabilities[device])
        assert (precision(GPU), precision(SECOND)) == (torch.float32, torch.bfloat16)


def test_what_a_gpu_needs_to_compile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Triton, then a C compiler, then Python's headers: named one after the other until all are there."""
    there: dict[str, Any] = {"triton": False, "compiler": None}
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: there["triton"])
    monkeypatch.setattr("model.training.compiling.shutil.which", lambda name: there["compiler"])
    monkeypatch.setattr("model.training.compiling.sysconfig.get_path", lambda name: str(tmp_path))
    assert missing_compiler(GPU) == "Triton is not installed"
    there["triton"] = True
    with pytest.raises(CompileError, match="there is no C compiler"):
        shall_compile("on", GPU, 600)
    there["compiler"] = "/usr/bin/gcc"
    assert "Python.h is missing" in (missing_compiler(GPU) or "")
    assert not shall_compile("auto", GPU, 600)
    (tmp_path / "Python.h").touch()
    assert missing_compiler(GPU) is None
    assert shall_compile("auto", GPU, 600)
