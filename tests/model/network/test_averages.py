"""Averages of networks: by hand, and beside torch's own averaged model."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from model.config import ModelConfig
from model.network.averages import average_into, group_of, why_not_averaged
from model.network.part import Compact
from model.network.transformer import Transformer

VOCAB = 320


def network(seed: int, **options: Any) -> Transformer:
    config = ModelConfig(n_layer=4, n_head=2, head_dim=8, context=16, **options)
    return Transformer(config, VOCAB, torch.Generator().manual_seed(seed))


def of_constants(value: float, **options: Any) -> Transformer:
    net = network(0, **options)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(value)
    return net


def test_averages_by_hand_with_weights_for_each_half_of_the_blocks() -> None:
    """1, 2 and 6: a half, a quarter and a quarter make 2.5; a tenth, nothing and nine tenths make 5.5."""
    target, nets = network(1, tied=False), [of_constants(v, tied=False) for v in (1.0, 2.0, 6.0)]
    average_into(target, nets, np.array([[0.5, 0.25, 0.25], [0.1, 0.0, 0.9]]))
    for name, tensor in target.state_dict().items():
        first = name.startswith(("embedding", "blocks.0.", "blocks.1."))
        assert tensor.unique().tolist() == pytest.approx([2.5 if first else 5.5]), name
    assert [net.norm.weight[0].item() for net in nets] == [1.0, 2.0, 6.0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tied": False, "mtp_heads": 1},
        {"mixer": "mamba2"},
        {"experts": 4, "experts_per_token": 2},
        {"linear": "ring", "bond": 2},
    ],
)
def test_averages_are_those_of_torchs_averaged_model(options: dict[str, Any]) -> None:
    nets = [network(seed, **options) for seed in range(3)]
    theirs = AveragedModel(nets[0])
    for net in nets:
        theirs.update_parameters(net)
    ours = network(9, **options)
    average_into(ours, nets, np.full((2, 3), 1 / 3))
    expected = dict(theirs.module.named_parameters())
    assert dict(ours.named_parameters()).keys() == expected.keys()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter, expected[name], rtol=1e-5, atol=1e-7)
    assert ours.state_dict().keys() == nets[0].state_dict().keys()


def test_averages_of_one_network_alone_are_that_network_to_the_bit() -> None:
    nets, target = [network(seed) for seed in range(3)], network(9)
    average_into(target, nets, np.array([[0.0, 1.0, 0.0]]))
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, nets[1].state_dict()[name])


@pytest.mark.parametrize("weights", [[[0.5, 0.6]], [[1.5, -0.5]], [[0.5, 0.25, 0.25]]])
def test_averages_take_weights_that_sum_to_one(weights: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"must be >= 0 and sum to 1"):
        average_into(network(0), [network(1), network(2)], np.array(weights))


@pytest.mark.parametrize("groups", [1, 2, 3, 4])
def test_groups_are_of_consecutive_blocks_and_none_is_empty(groups: int) -> None:
    found = [group_of(f"blocks.{i}.mixer.weight", 4, groups) for i in range(4)]
    assert found == sorted(found)
    assert set(found) == set(range(groups))
    assert {group_of(name, 4, groups) for name in ("embedding.weight", "embedding_norm.weight")} == {0}
    assert {group_of(name, 4, groups) for name in ("norm.weight", "unembedding.weight", "mtp.0.norm.weight")} == {
        groups - 1
    }


def test_levels_have_no_average() -> None:
    stored = network(0, linear="ternary")
    assert not why_not_averaged(stored)
    for module in stored.modules():
        if isinstance(module, Compact):
            module.expect_packed()
    why = why_not_averaged(stored)
    assert "linear = 'ternary'" in why
    assert "an average of levels is none of them" in why
