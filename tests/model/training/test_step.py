import os
import subprocess
import sys
import uuid

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import model.network.loss
from model.config import ModelConfig, TrainConfig
from model.errors import CompileError, DeviceMemoryError
from model.network.device import out_of_memory, precision
from model.network.loss import batch_loss, largest_divisor, linear_cross_entropy
from model.network.transformer import Transformer
from model.training.compiling import compiled_as, missing_compiler
from model.training.optimizer import Average, Optimizer
from model.training.step import Step
from tests.model.network.menu import MENU
from tests.model.network.reference import Reference

CPU = torch.device("cpu")
SMALL = ModelConfig(n_layer=2, n_head=2, head_dim=8, context=16)
VOCAB = 61


def network(config: ModelConfig = SMALL, seed: int = 0) -> Transformer:
    return Transformer(config, VOCAB, torch.Generator().manual_seed(seed))


def rows(batch: int, context: int = 16) -> Tensor:
    return torch.randint(0, VOCAB, (batch, context + 1), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("cap", "z_weight"), [(0.0, 0.0), (2.0, 0.0), (0.0, 0.1), (2.0, 0.1)])
@pytest.mark.parametrize("logits", [10**9, 61 * 6, 61])
def test_loss_in_pieces_is_cross_entropy_with_its_gradients(
    cap: float, z_weight: float, logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(model.network.loss.LOGITS_AT_ONCE, "cpu", logits)
    g = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 8, generator=g, requires_grad=True) for n in (24, VOCAB))
    targets, scale = torch.randint(0, VOCAB, (24,), generator=g), torch.rand(24, generator=g)
    scores = x.double() @ weight.double().T
    scores = cap * torch.tanh(scores / cap) if cap else scores
    nats = (F.cross_entropy(scores, targets, reduction="none") * scale).sum()
    expected = nats + z_weight * (scores.exp().sum(dim=-1).log() ** 2 * scale).sum()
    found, recorded = linear_cross_entropy(x, weight, targets, scale, cap, z_weight=z_weight)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(recorded.double(), nats.detach(), rtol=1e-6, atol=1e-6)
    assert not recorded.requires_grad
    ours, theirs = (torch.autograd.grad(3 * loss, (x, weight)) for loss in (found, expected))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("logits", [10**9, 200])
def test_further_heads_predict_further_on(logits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Main loss plus 0.3 × the mean over heads of the loss against targets shifted by one and two places."""
    monkeypatch.setitem(model.network.loss.LOGITS_AT_ONCE, "cpu", logits)
    net, batch = network(ModelConfig(n_layer=1, n_head=4, head_dim=8, context=16, mtp_heads=2)), rows(3)
    naive = Reference(net)
    losses = []
    for i in range(3):
        each = [
            F.cross_entropy(naive.logits(r[:-1])[i][: 16 - i], r[1 + i :], reduction="sum") / (16 - i) for r in batch
        ]
        losses.append(torch.stack(each).mean())
    expected = losses[0] + 0.3 * (losses[1] + losses[2]) / 2
    torch.testing.assert_close(batch_loss(net, batch, 0.3)[0].double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(batch_loss(net, batch, 0.0)[0].double(), losses[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(batch_loss(net, batch, 0.3)[1].double(), losses[0], rtol=1e-5, atol=1e-5)


def adamw_by_hand(p: Tensor, grads: list[Tensor], rate: float, decay: float) -> Tensor:
    """Loshchilov & Hutter's algorithm 2, in float64, with our default betas."""
    p, m, v = p.double(), torch.zeros_like(p).double(), torch.zeros_like(p).double()
    for t, g in enumerate((g.double() for g in grads), start=1):
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
        p = p - rate * decay * p - rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.95**t)).sqrt() + 1e-8)
    return p


def test_adamw_decays_matrices_only() -> None:
    net, rate = network(), 2e-3
    optimizer = Optimizer(net, TrainConfig(grad_clip=1e9))
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    grads: dict[str, list[Tensor]] = {n: [] for n in before}
    for step in range(3):
        for i, (name, p) in enumerate(net.named_parameters()):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * step + i))
            grads[name].append(p.grad.clone())
        optimizer.rate.fill_(rate)
        optimizer.step()
    for name, p in net.named_parameters():
        expected = adamw_by_hand(before[name], grads[name], rate, 0.1 if p.ndim >= 2 else 0.0)
        torch.testing.assert_close(p.double(), expected, rtol=1e-5, atol=1e-6)


def test_muon_is_torchs_at_the_rate_of_the_step() -> None:
    """Blocks' matrices as torch's Muon moves them when given the rate itself; the embedding as AdamW does."""
    net, twin = network(), network()
    training = TrainConfig(optimizer="muon", max_lr=0.02, grad_clip=1e9)
    ours = Optimizer(net, training)
    matrices = [p for p in twin.blocks.parameters() if p.ndim == 2]
    theirs = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    embedding, grads = net.embedding.weight.detach().clone(), []
    for step, rate in enumerate((0.004, 0.02, 0.011)):
        for i, (p, q) in enumerate(zip(net.parameters(), twin.parameters(), strict=True)):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * step + i))
            q.grad = p.grad.clone()
        assert net.embedding.weight.grad is not None
        grads.append(net.embedding.weight.grad.clone())
        theirs.param_groups[0]["lr"] = rate
        theirs.step()  # type: ignore[no-untyped-call]
        ours.rate.fill_(rate)
        ours.step()
    for p, q in zip((p for p in net.blocks.parameters() if p.ndim == 2), matrices, strict=True):
        # Gradients are rounded to bfloat16: a last bit of float32 may make one fall the other way.
        torch.testing.assert_close(p, q, rtol=1e-4, atol=2e-5)
    assert not torch.equal(net.embedding.weight, embedding)
    assert len(grads) == 3


def test_an_average_is_the_mean_and_swaps_back() -> None:
    p = torch.zeros(3)
    average = Average([p])
    average.swap()  # nothing to swap with yet
    assert torch.equal(p, torch.zeros(3))
    for value in (1.0, 4.0, 10.0):
        p.fill_(value)
        average.add()
    average.swap()
    torch.testing.assert_close(p, torch.full((3,), 5.0))
    average.swap()
    assert torch.equal(p, torch.full((3,), 10.0))


def prepared(training: TrainConfig, seed: int = 0) -> Step:
    step = Step(network(seed=seed), training, budget_seconds=1.0)
    step.prepare()
    return step


def test_micro_batches_add_up_to_the_batch() -> None:
    """One step on six sequences is the same in micro-batches of 6, 3 and 1; 4 does not divide 6, so 3 is taken."""
    after = []
    for most, expected in ((6, 6), (4, 3), (1, 1)):
        step = prepared(TrainConfig(batch_size=6, micro_batch=most))
        assert step.micro_batch == expected
        step(rows(6), 1e-3)
        after.append([p.detach().clone() for p in step.network.parameters()])
    for a, b, c in zip(*after, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_preparing_teaches_nothing(optimizer: str) -> None:
    """Weights are untouched, no random number is drawn, and the first steps are those of an optimizer just made."""
    training = TrainConfig(batch_size=4, optimizer=optimizer)
    random_state, fresh = torch.get_rng_state(), network()
    step = prepared(training)
    assert torch.equal(random_state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), step.network.parameters(), strict=True))
    plain = Optimizer(fresh, training)
    for _ in range(2):
        step(rows(4), 1e-2)
        batch_loss(fresh, rows(4))[0].backward()  # type: ignore[no-untyped-call]
        plain.rate.fill_(1e-2)
        plain.step()
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), step.network.parameters(), strict=True))


@pytest.mark.parametrize(("number", "most", "expected"), [(512, 100, 64), (30, 7, 6), (7, 6, 1), (5, 99, 5)])
def test_largest_divisor(number: int, most: int, expected: int) -> None:
    assert largest_divisor(number, most) == expected


def test_not_even_one_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_fits(self: Step, micro: Tensor, **_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Step, "_accumulate", nothing_fits)
    with pytest.raises(DeviceMemoryError, match="not even one sequence of 16 tokens"):
        prepared(TrainConfig(batch_size=4))


def test_memory_is_told_from_faults() -> None:
    """Torch's own words for memory that the CPU can't give, and for a mistake."""
    with pytest.raises(RuntimeError) as no_memory:
        torch.empty(2**60, dtype=torch.float32)
    assert out_of_memory(no_memory.value)
    with pytest.raises(RuntimeError) as mistake:
        torch.zeros(2, 3) @ torch.zeros(2, 3)
    assert not out_of_memory(mistake.value)
    assert not out_of_memory(ValueError("DefaultCPUAllocator: can't allocate memory"))


def test_precision_is_a_rule() -> None:
    assert precision(CPU, "float32", 512) == torch.float32
    assert precision(CPU, "bfloat16", 8) == torch.bfloat16
    assert precision(CPU, "auto", 16) == torch.float32


def test_compiling_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.training.compiling.shutil.which", lambda name: None)
    assert not Step(network(), TrainConfig(), budget_seconds=3600).compiled
    with pytest.raises(CompileError, match="no C\\+\\+ compiler"):
        Step(network(), TrainConfig(compile="on"), budget_seconds=3600)


def test_auto_is_settled_by_the_budget_and_what_is_asked_for_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.training.compiling.shutil.which", lambda name: "/usr/bin/g++")
    settled = [compiled_as(TrainConfig(compile=c), CPU, s).compile for c in ("auto", "on", "off") for s in (60, 300)]
    assert settled == ["off", "on", "on", "on", "off", "off"]


COMPILED = """
import torch
import torch._dynamo.utils
from model.config import ModelConfig, TrainConfig
from model.network.transformer import Transformer
from model.training.step import Step

def weights(compiled, layers):
    options = dict(n_layer=layers, n_head=2, head_dim=8, context=16, qk_norm=True, mtp_heads=1)
    net = Transformer(ModelConfig(**options), 64, torch.Generator().manual_seed(0))
    step = Step(net, TrainConfig(batch_size=4, micro_batch=2, compile=compiled), budget_seconds=600)
    assert step.compiled == (compiled == "on")
    torch.compiler.reset()
    step.prepare()
    rows = torch.randint(0, 64, (4, 17), generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        step(rows, 1e-3)
    return [p.detach() for p in net.parameters()]

for layers in (1, 9):  # compiled as one, and block by block
    torch._dynamo.utils.counters.clear()
    for eager, first, again in zip(weights("off", layers), weights("on", layers), weights("on", layers)):
        torch.testing.assert_close(eager, first, rtol=1e-3, atol=1e-4)
        assert torch.equal(first, again)
    # Twice in a row: nine blocks are one graph, a further head another, the loss the third.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 6, torch._dynamo.utils.counters
print("agree")
"""


KEPT = """
import torch
from torch._dynamo.utils import counters
from model.network.device import maybe_compiled
from model.network.loss import LOGITS_AT_ONCE, linear_cross_entropy

LOGITS_AT_ONCE["cpu"] = 64 * 8  # three pieces
g = torch.Generator().manual_seed(0)
x, weight = (torch.randn(n, 8, generator=g, requires_grad=True) for n in (24, 64))
targets, scale = torch.randint(0, 64, (24,), generator=g), torch.rand(24, generator=g)

def gradients(compiled, cap, z_weight):
    torch.compiler.reset()
    loss = maybe_compiled(linear_cross_entropy, compiled)(x, weight, targets, scale, cap, z_weight=z_weight)[0]
    return torch.autograd.grad(3 * loss, (x, weight))

for settings in [(0.0, 0.0), (2.0, 0.0), (2.0, 0.1), (0.0, 0.0), (2.0, 0.0)]:
    before = counters["aot_autograd"]["autograd_cache_hit"]
    for found, expected in zip(gradients(True, *settings), gradients(False, *settings)):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    print(counters["aot_autograd"]["autograd_cache_hit"] - before)
"""


def compiling(program: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run a program that compiles, where kernels and the headers before them are compiled once for all such programs.

    It compiles in its own process: helpers take longer to start than the little they would compile.
    """
    environment = {**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "1", **env}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=280)


@pytest.mark.skipif(bool(missing_compiler(CPU)), reason="needs a C++ compiler")
def test_a_compiled_loss_in_pieces_is_kept_and_no_other_loss_takes_its_place() -> None:
    """With another cap or weight it is compiled anew; compiled again it is found among what the compiler keeps."""
    done = compiling(KEPT, TORCH_COMPILE_CACHE_KEY_TAG=uuid.uuid4().hex)  # no graph of an earlier run is found
    assert done.stdout.split() == ["0", "0", "0", "1", "1"], done.stderr[-2000:]


@pytest.mark.skipif(bool(missing_compiler(CPU)), reason="needs a C++ compiler")
def test_compiled_steps_are_eager_ones() -> None:
    """In a process of its own: the shape checks of this one would be compiled along."""
    done = compiling(COMPILED)
    assert done.stdout.strip() == "agree", done.stderr[-2000:]


def test_the_menu_is_all_that_the_configuration_offers() -> None:
    """Each option of the network stands in the menu that the tests go through."""
    named = {key for case in MENU.values() for key in case.options}
    plain = {"n_layer", "n_head", "head_dim", "context", "rope_base"}
    assert named | plain == set(ModelConfig().table())
