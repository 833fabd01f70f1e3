import math
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError

from model.config import ModelConfig
from model.network.mixers.attend import attend, masked, written_out
from model.network.positions import attention_mask, rotate, rotations
from tests.model.network.case import VOCAB, Case, tokens
from tests.model.network.ideas.plain import CASES


def test_a_window_forgets_what_lies_further_back() -> None:
    """Two blocks of window 3 reach back 2 · (3 − 1) = 4 places and no further."""
    net, before = Case(options={"window": 3}).network(), tokens(1)
    for distance in range(1, 8):
        after = before.clone()
        after[0, 10 - distance] = (after[0, 10 - distance] + 1) % VOCAB
        same = torch.allclose(net(before)[0, 10], net(after)[0, 10])
        assert same == (distance > 4)


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    cosine, sine = rotations(ModelConfig(head_dim=8, context=32))
    q, k = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)).unbind(0)
    turned_q, turned_k = (rotate(x.expand(1, 1, 32, 8), cosine, sine)[0, 0] for x in (q, k))
    scores = turned_q @ turned_k.T
    for distance in range(5):
        diagonal = scores.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm().expand(32))


@pytest.mark.parametrize("options", [CASES[k].options for k in ("plain", "grouped", "window", "alibi")])
def test_attention_written_out_is_torchs(options: dict[str, Any]) -> None:
    config = ModelConfig(n_layer=1, n_head=4, head_dim=8, context=16, **options)
    mask, g = attention_mask(config, config.window), torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, 16, 8, generator=g) for n in (4, config.kv_heads, config.kv_heads))
    torch.testing.assert_close(written_out(q, k, v, mask), attend(q, k, v, mask))


@pytest.mark.parametrize("head_dim", [8, 6, 20])
@pytest.mark.parametrize("options", [CASES[k].options for k in ("window", "alibi", "alibi in a window, grouped")])
def test_masked_attention_is_a_softmax_over_what_is_seen(options: dict[str, Any], head_dim: int) -> None:
    """By its definition, in float64, a head at a time; and its gradients."""
    config = ModelConfig(n_layer=1, n_head=4, head_dim=head_dim, context=16, **options)
    mask, g = attention_mask(config, config.window), torch.Generator().manual_seed(0)
    assert mask is not None
    heads = (4, config.kv_heads, config.kv_heads)
    q, k, v = (torch.randn(2, n, 16, head_dim, generator=g, requires_grad=True) for n in heads)
    group, expected = 4 // config.kv_heads, []
    for h in range(4):
        scores = q[:, h].double() @ k[:, h // group].double().mT / math.sqrt(head_dim)
        bias = mask.expand(4, 16, 16)[h]
        scores = scores + bias if mask.is_floating_point() else scores.masked_fill(~bias, -math.inf)
        expected.append(scores.softmax(dim=-1) @ v[:, h // group].double())
    wanted, weight = torch.stack(expected, dim=1), torch.randn(2, 4, 16, head_dim, generator=g)
    by_wanted = torch.autograd.grad((wanted * weight).sum(), (q, k, v))
    for attention in (masked, attend):
        found = attention(q, k, v, mask)
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
        for a, b in zip(torch.autograd.grad((found * weight).sum(), (q, k, v)), by_wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_weights_are_a_function_of_the_seed_and_the_global_stream_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, same, other = (Case().network(seed) for seed in (1, 1, 2))
    torch.testing.assert_close(torch.rand(1), expected)
    assert torch.equal(first.embedding.weight, same.embedding.weight)
    assert not torch.equal(first.embedding.weight, other.embedding.weight)


def test_shapes_are_checked_while_tests_run() -> None:
    """The house's rule, tested on itself: 4 positions don't fit 5 rotations."""
    with pytest.raises(TypeCheckError):
        rotate(torch.zeros(1, 1, 4, 8), *rotations(ModelConfig(head_dim=8, context=8)))
