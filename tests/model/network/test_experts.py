"""A mixture of experts: its sizes told apart, what it drops counted, its load evened out."""

import pytest
import torch
from torch import Tensor

from model.config import ModelConfig, TrainConfig
from model.errors import SettingsError
from model.network.flops import count_active_parameters, count_parameters
from model.network.loss import batch_loss
from model.network.mlps.experts import Experts
from model.network.transformer import Transformer
from model.training.optimizer import Optimizer
from tests.model.network.case import CONTEXT, VOCAB, Case, tokens

FOUR = {"experts": 4, "expert_capacity": 1.0}


def mixtures(net: Transformer) -> list[Experts]:
    return [m for m in net.modules() if isinstance(m, Experts)]


def rows() -> Tensor:
    return torch.randint(0, VOCAB, (2, CONTEXT + 1), generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("mlp", ["gelu", "swiglu"])
def test_a_token_is_mapped_by_the_active_parameters_alone(mlp: str) -> None:
    """As many as the elements that any gradient of one token's first output reaches, embedding rows aside."""
    case = Case(options={**FOUR, "mlp": mlp, "shared_experts": 1, "tied": False})
    net = case.network()
    net(torch.tensor([[5]])).sum().backward()
    reached = 0
    for p in net.parameters():
        if p.ndim == 3:  # an expert's matrix is reached whole or not at all
            assert p.grad is not None
            reached += int(p.grad.abs().sum(dim=(1, 2)).gt(0).sum()) * p[0].numel()
        else:
            reached += p.numel()
    assert count_active_parameters(net.config, VOCAB) == reached < count_parameters(net.config, VOCAB)


def test_without_experts_every_parameter_is_active() -> None:
    config = ModelConfig()
    assert count_active_parameters(config, 1000) == count_parameters(config, 1000)


def test_dropped_choices_are_counted() -> None:
    """All tokens choose experts 0 and 1, which have room for 8 of 16 each: 2 · 8 of 32 choices are dropped."""
    net = Case(options=FOUR).network()
    for experts in mixtures(net):
        experts.bias.copy_(torch.tensor([5.0, 4.0, 0.0, 0.0]))
    balancing = Optimizer(net, TrainConfig()).balancing
    assert balancing.take_dropped_share() is None
    batch_loss(net, rows())
    with torch.inference_mode():
        net(tokens())  # where a network is measured nothing is counted
    assert mixtures(net)[0].load.tolist() == [32, 32, 0, 0]
    assert mixtures(net)[0].tally.tolist() == [64, 32]
    assert balancing.take_dropped_share() == 0.5
    assert balancing.take_dropped_share() is None


def test_biases_move_against_the_load_of_the_whole_batch() -> None:
    """By 0.25: down where more than the mean chose an expert, up where fewer did."""
    net = Case(options={**FOUR, "expert_bias_rate": 0.25}).network()
    optimizer = Optimizer(net, TrainConfig())
    for micro in torch.split(rows(), 1):
        batch_loss(net, micro)[0].backward()  # type: ignore[no-untyped-call]
    loads = [m.load.tolist() for m in mixtures(net)]
    assert [sum(load) for load in loads] == [2 * CONTEXT * 2] * 2
    optimizer.step()
    for m, load in zip(mixtures(net), loads, strict=True):
        assert m.bias.tolist() == [0.25 * ((n < CONTEXT) - (n > CONTEXT)) for n in load]
        assert m.load.tolist() == [0, 0, 0, 0]


def test_biases_even_out_what_a_router_prefers() -> None:
    """A router that has all tokens choose expert 0 first: after some steps at a rate of 0 its load is near the mean."""
    net = Case(options={"n_layer": 1, "experts": 4, "experts_per_token": 1, "expert_bias_rate": 0.02}).network()
    mixture = mixtures(net)[0]
    mixture.bias.copy_(torch.tensor([0.5, 0.0, 0.0, 0.0]))
    optimizer = Optimizer(net, TrainConfig())
    optimizer.rate.zero_()
    loads = []
    for _ in range(60):
        batch_loss(net, rows())[0].backward()  # type: ignore[no-untyped-call]
        loads.append(mixture.load.clone())
        optimizer.step()
    assert loads[0].tolist() == [32, 0, 0, 0]
    assert torch.stack(loads[-10:]).float().mean(dim=0).max() < 1.5 * 8


def test_the_balance_loss_is_the_papers() -> None:
    """α Σ f P of each sequence and block (DeepSeek-V3, equations 17 to 20), by loops; not in the nats on record."""
    net = Case(options={**FOUR, "experts_per_token": 2, "expert_balance_loss": 0.3, "n_layer": 1}).far_from_linear()
    seen: list[Tensor] = []
    mixtures(net)[0].router.register_forward_hook(lambda _, __, logits: seen.append(logits.detach().double()))
    loss, nats = batch_loss(net, rows())
    expected = 0.0
    for sequence in seen[0]:
        f, p = [0.0] * 4, [0.0] * 4
        for logits in sequence:
            scores = 1 / (1 + torch.exp(-logits))
            for e in (scores + mixtures(net)[0].bias).argsort(descending=True)[:2].tolist():
                f[e] += 4 / (2 * CONTEXT)
            for e in range(4):
                p[e] += float(scores[e] / scores.sum()) / CONTEXT
        expected += 0.3 * sum(a * b for a, b in zip(f, p, strict=True)) / len(seen[0])
    assert loss.item() - nats.item() == pytest.approx(expected, rel=1e-4)


def test_no_more_experts_are_chosen_than_there_are() -> None:
    with pytest.raises(SettingsError, match=r"`experts_per_token` is 3, but must be <= experts \(2\)"):
        ModelConfig(experts=2, experts_per_token=3)


def test_experts_are_dense() -> None:
    with pytest.raises(SettingsError, match='but must be 0 where the linear layers of MLPs are "ternary"'):
        ModelConfig(experts=2, linear="ternary")
    assert ModelConfig(experts=2, linear="ternary", linear_in="attention").linear_kind("attention.q") == "ternary"
