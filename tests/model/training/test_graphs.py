"""A step as CUDA graphs, on the GPU that stands in for one: the same numbers as the CPU's own steps, or an error."""

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor

import model.network.loss
from model.config import ModelConfig, TrainConfig
from model.errors import CaptureError
from model.network.device import on_device
from model.network.transformer import Transformer
from model.training import graphs
from model.training.graphs import StepGraphs
from model.training.optimizer import Optimizer
from model.training.step import Step
from tests.model.network.case import Case
from tests.model.network.menu import costly_cases
from tests.model.training.stand_in import FORBIDDEN, stand_in

VOCAB, CONTEXT, BATCH, STEPS = 61, 16, 8, 3
MENU: dict[str, dict[str, Any]] = {
    "plain": {},
    "alibi": {"positions": "alibi"},
    "window, grouped": {"window": 4, "attention": "grouped"},
    "much at once": {"qk_norm": True, "mlp": "swiglu", "logit_softcap": 5.0, "tied": False, "mtp_heads": 2},
    "latent": {"attention": "latent", "projection_dim": 12},
}


def rows(seed: int) -> Tensor:
    return torch.randint(0, VOCAB, (BATCH, CONTEXT + 1), generator=torch.Generator().manual_seed(seed))


def prepared(options: dict[str, Any], *, micro_batch: int = 2, captured: bool = True, **training: Any) -> Step:
    config = ModelConfig(**{"n_layer": 1, "n_head": 2, "head_dim": 8, "context": CONTEXT, **options})
    network = Transformer(config, VOCAB, torch.Generator().manual_seed(0))
    settings = TrainConfig(**{"batch_size": BATCH, "micro_batch": micro_batch, "precision": "float32", **training})
    step = Step(network, settings, budget_seconds=1.0, graphs=captured)
    step.prepare()
    return step


def outcome(step: Step) -> list[Tensor]:
    """Return the weights after steps at several rates, and the nats of the steps."""
    for i in range(STEPS):
        step(rows(i), 1e-3 * (i + 1))
    return [*(p.detach().clone() for p in step.network.parameters()), torch.tensor(step.take_nats())]


def agree(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("logits", [10**9, VOCAB * 6], ids=["loss at once", "loss in pieces"])
@pytest.mark.parametrize("options", MENU.values(), ids=MENU)
def test_captured_steps_are_eager_ones(
    options: dict[str, Any], logits: int, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three steps of four micro-batches at three rates."""
    for kind in ("cpu", "cuda"):
        monkeypatch.setitem(model.network.loss.LOGITS_AT_ONCE, kind, logits)
    eager = outcome(prepared(options, optimizer=optimizer))
    with stand_in() as gpu:
        step = prepared(options, optimizer=optimizer)
        captured = outcome(step)
        assert step.mode == "eager + CUDA graphs"
    assert gpu.events["captures"] == 3
    assert gpu.events["replays"] == STEPS * (BATCH // 2 + 1)
    # Muon makes a gradient's small singular values as large as the others, and their rounding with them: here it may be
    # a hundredth of what the steps move a weight by.
    atol = 1e-4 if optimizer == "muon" else 1e-6
    for a, b in zip(eager, captured, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=atol)


@costly_cases
def test_every_idea_is_captured(case: Case) -> None:
    """The same three steps, through the options of files of their own."""
    options = {"n_layer": 2, "n_head": 4, **case.options}
    eager = outcome(prepared(options))
    with stand_in():
        step = prepared(options)
        assert agree(eager, outcome(step))
        assert step.captured


def test_clipped_scores_are_captured() -> None:
    """The largest score of all micro-batches is looked for and its heads are scaled inside the graphs."""
    eager, unclipped = (outcome(prepared({}, qk_clip=limit)) for limit in (1e-3, 0.0))
    with stand_in():
        assert agree(eager, outcome(prepared({}, qk_clip=1e-3)))
    assert not agree(eager, unclipped)


def test_in_bfloat16_captured_steps_are_those_launched_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the weights' casts inside the graphs: another step would else multiply by the weights of the first."""
    monkeypatch.setitem(model.network.loss.LOGITS_AT_ONCE, "cuda", VOCAB * 6)
    with stand_in():
        steps = [prepared({}, captured=captured, precision="auto") for captured in (True, False)]
        assert {step.dtype for step in steps} == {torch.bfloat16}
        assert agree(*(outcome(step) for step in steps))


def test_a_batch_in_one_piece_needs_no_graph_that_adds() -> None:
    eager = outcome(prepared({}, micro_batch=BATCH))
    with stand_in() as gpu:
        assert agree(eager, outcome(prepared({}, micro_batch=BATCH)))
    assert (gpu.events["captures"], gpu.events["replays"]) == (2, 2 * STEPS)


def test_without_graphs_kernels_are_launched_one_by_one() -> None:
    with stand_in() as gpu:
        step = prepared({}, captured=False)
        assert agree(outcome(prepared({})), outcome(step))
        assert step.mode == "eager"
    assert gpu.events["captures"] == 3


def test_preparing_again_and_again_uses_one_stream() -> None:
    """Of warm-up and capture: each further one would keep its own workspaces."""
    with stand_in() as gpu:
        for _ in range(3):
            prepared({})
    assert gpu.events["streams"] == len(gpu.launched_on) == 1
    assert gpu.events["caches emptied"] == 3


def looks(self: Optimizer) -> None:
    float(self.parameters[0].detach().sum())


def waits(self: Optimizer) -> None:
    torch.cuda.synchronize()


def brings_home(self: Optimizer) -> None:
    self.parameters[0].detach().cpu()


@pytest.mark.parametrize("forbidden", [looks, waits, brings_home])
def test_what_a_capture_forbids_is_an_error_with_its_cause(forbidden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by its first cause, and torch's current stream is what it was: the run after it is captured as ever."""
    with stand_in() as gpu:
        with monkeypatch.context() as patch:
            patch.setattr(Optimizer, "step", forbidden)
            with pytest.raises(
                CaptureError, match=f"on cuda:0: AcceleratorError: {FORBIDDEN}.*start the command again"
            ):
                prepared({})
        assert gpu.stream is gpu.default
        assert agree(outcome(prepared({})), outcome(prepared({}, captured=False)))


def test_a_fault_in_a_capture_is_told_without_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(self: Optimizer) -> None:
        if torch.cuda.current_stream() is not None and gpu.capture is not None:
            raise ValueError

    with stand_in() as gpu:
        monkeypatch.setattr(Optimizer, "step", faulty)
        with pytest.raises(CaptureError, match="on cuda:0: ValueError\\."):
            prepared({})


def test_the_second_gpu_captures_as_the_first() -> None:
    """Whichever is current; the steps' device is, for the length of a block."""
    first: list[Tensor] = []
    second: list[Tensor] = []
    for index, found in ((0, first), (1, second)):
        with stand_in(index) as gpu:
            with on_device(gpu.device):
                assert gpu.current == index
                found += outcome(prepared({}))
            assert gpu.current == 0
            found += outcome(prepared({}))
    assert agree(first, second)


def test_a_stream_of_another_gpu_captures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch does on its own: it makes its capture stream on the current device."""
    monkeypatch.setattr(graphs, "capture_stream", lambda device: torch.cuda.Stream())  # type: ignore[no-untyped-call]
    with stand_in(1), pytest.raises(CaptureError, match="cuda:1"):
        prepared({})


def test_attention_is_kept_off_cudnn_and_settings_are_put_back() -> None:
    def settings() -> tuple[str, bool]:
        return torch.get_float32_matmul_precision(), torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]

    before = settings()
    with stand_in() as gpu, on_device(gpu.device):
        assert settings() == ("high", False)
    assert settings() == before


accumulate, call = StepGraphs.accumulate, Step.__call__


def replaced(self: StepGraphs, micro: Tensor, *, first: bool) -> None:
    accumulate(self, micro, first=True)


def stale(self: StepGraphs, micro: Tensor, *, first: bool) -> None:
    accumulate(self, micro, first=False)


def not_copied(self: StepGraphs, micro: Tensor, *, first: bool) -> None:
    accumulate(self, self._rows, first=first)


def baked_in(self: Step, micro: Tensor, rate: float) -> None:
    self.optimizer.rate = torch.tensor(rate)
    call(self, micro, rate)


MISTAKES = {
    "gradients of a further micro-batch replace the first's": (StepGraphs, "accumulate", replaced),
    "gradients of the last step stay": (StepGraphs, "accumulate", stale),
    "rows are not copied to their place": (StepGraphs, "accumulate", not_copied),
    "the rate is that of the capture": (Step, "__call__", baked_in),
    "the warm-up is not undone": (Step, "_undone", contextlib.nullcontext),
    "weights are not updated": (StepGraphs, "update", lambda self: None),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_the_stand_in_shows_mistakes(mistake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these would be silent on a real GPU: the numbers alone tell."""
    eager = outcome(prepared({}))
    monkeypatch.setattr(*mistake)
    with stand_in():
        step = prepared({})
        assert step.captured
        assert not agree(eager, outcome(step))
