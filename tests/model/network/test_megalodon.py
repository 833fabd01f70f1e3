"""Megalodon's averages, its norm and its chunks against what they stand for."""

from typing import Any, cast

import pytest
import scipy.linalg
import scipy.signal
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.config import ModelConfig
from model.errors import SettingsError
from model.network.blocks.timestep_norm import LEAST_VARIANCE, TimestepNorm
from model.network.blocks.two_hop import TwoHopBlock
from model.network.counts import Counts
from model.network.mixers.attend import masked, written_out
from model.network.mixers.megalodon import Megalodon
from model.network.mixers.moving_average import CHUNK, Coefficients, MovingAverage, moving_average, upper_toeplitz
from model.network.part import Where
from tests.model.network.case import Case, tokens

OPTIONS: dict[str, Any] = {"mixer": "megalodon", "attention_chunk": 4, "ema_dim": 3}


def coefficients(g: torch.Generator, longest: float) -> Coefficients:
    """Five channels of three averages, which keep what they see for up to so many tokens."""
    gain, size, angle = (torch.rand(5, 3, generator=g, dtype=torch.float64) for _ in range(3))
    weights = [torch.randn(5, 3, generator=g, dtype=torch.float64) for _ in range(2)]
    return Coefficients(gain, -(size + 0.1) / longest, 6.28 * angle, *weights)


def recurrence(x: Tensor, by: Coefficients, state: Tensor) -> tuple[Tensor, Tensor]:
    """A token at a time, with complex numbers."""
    turn, weight = torch.polar(by.log_decay.exp(), by.angle), torch.complex(by.weight_re, by.weight_im)
    states, y = torch.complex(*state.transpose(0, 1).chunk(2, dim=2)), []
    for token in x.unbind(dim=1):
        states = by.gain * token[..., None] + turn * states
        y.append((weight * states).sum(dim=2).real)
    return torch.stack(y, dim=1), torch.cat((states.real, states.imag), dim=2).transpose(0, 1)


@given(length=st.integers(1, 40), chunk=st.integers(1, 24), longest=st.sampled_from([0.1, 5.0, 1000.0]))
@settings(deadline=None, max_examples=30)
def test_averages_in_chunks_of_any_length_are_the_recurrence(length: int, chunk: int, longest: float) -> None:
    """From any state on, in float64, gradients too; whether states last or are forgotten at once."""
    g = torch.Generator().manual_seed(length * 100 + chunk)
    made = [torch.randn(shape, generator=g, dtype=torch.float64) for shape in ((2, length, 5), (5, 2, 6))]
    made = [t.requires_grad_() for t in (*made, *coefficients(g, longest))]
    x, state, by = made[0], made[1], Coefficients(*made[2:])
    results = moving_average(x, by, state, chunk), recurrence(x, by, state)
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    gradients = [torch.autograd.grad(torch.stack([t.cos().sum() for t in both]).sum(), made) for both in results]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-8)


def test_averages_are_scipys_filters() -> None:
    """Of order one: h_t = α x_t + q h_{t−1}, over more tokens than a chunk has."""
    g = torch.Generator().manual_seed(0)
    x, by = torch.randn(1, 2 * CHUNK + 9, 5, generator=g, dtype=torch.float64), coefficients(g, 30.0)
    y, _ = moving_average(x, by, torch.zeros(5, 1, 6, dtype=torch.float64), CHUNK)
    turn, weight = torch.polar(by.log_decay.exp(), by.angle), torch.complex(by.weight_re, by.weight_im)
    for channel in range(5):
        expected = sum(
            (w * scipy.signal.lfilter([a], [1, -q], x[0, :, channel].numpy())).real
            for a, q, w in zip(by.gain[channel].tolist(), turn[channel].tolist(), weight[channel].tolist(), strict=True)
        )
        torch.testing.assert_close(y[0, :, channel], torch.from_numpy(expected), rtol=1e-9, atol=1e-9)


def test_a_kernels_matrix_is_scipys() -> None:
    for size in (1, 2, 7):
        kernel = torch.randn(3, size, generator=torch.Generator().manual_seed(size))
        expected = [scipy.linalg.toeplitz([row[0], *[0] * (size - 1)], row) for row in kernel.tolist()]
        torch.testing.assert_close(upper_toeplitz(kernel).tolist(), [m.tolist() for m in expected])


def test_averages_stay_finite_wherever_training_may_take_them() -> None:
    """Logits of ±100: decays of nothing and of everything, each with its gradient."""
    average = MovingAverage(4, 2)
    average.draw(torch.Generator().manual_seed(0))
    with torch.no_grad():
        average.alpha.copy_(torch.tensor([100.0, 100, -100, -100, 100, 0, 0, -100]))
        average.delta.copy_(torch.tensor([100.0, -100, 100, -100, 0, 100, -100, 0]))
    y, state = average(torch.ones(1, 3 * CHUNK, 4), average.initial_state(1, torch.device("cpu")))
    y.sum().backward()
    assert all(t is not None and t.isfinite().all() for t in (y, state, *(p.grad for p in average.parameters())))


def test_first_angles_are_those_of_the_authors_for_channels_in_any_order() -> None:
    """ω = D^(−k / D), k from 1 to D."""
    average = MovingAverage(8, 2)
    average.draw(torch.Generator().manual_seed(0))
    expected = torch.tensor([8 ** (-k / 8) for k in range(8, 0, -1)])
    assert not torch.equal(average.omega.sort().values, average.omega)
    torch.testing.assert_close(average.omega.sigmoid().sort().values, expected)


@given(groups=st.sampled_from([1, 2, 4]), mean=st.sampled_from([0.0, 1000.0]), cut=st.integers(1, 11))
@settings(deadline=None, max_examples=20)
def test_the_timestep_norm_is_group_norm_of_all_tokens_so_far(groups: int, mean: float, cut: int) -> None:
    """torch's own, of each beginning of the text in float64; at once and continued, even where the mean is large."""
    g = torch.Generator().manual_seed(groups)
    x = torch.randn(2, 12, 8, generator=g) * torch.linspace(0.1, 3, 12)[:, None] + mean
    norm = TimestepNorm(8, groups)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2, generator=g)
        norm.bias.normal_(generator=g)
    weight, bias = norm.weight.double(), norm.bias.double()
    expected = torch.stack(
        [
            F.group_norm(x.double()[:, :end].mT, groups, weight, bias, eps=LEAST_VARIANCE)[:, :, -1]
            for end in range(1, 13)
        ],
        dim=1,
    )
    first, moments = norm.read(x[:, :cut])
    for ours in (norm(x), torch.cat((first, norm.read(x[:, cut:], moments)[0]), dim=1)):
        torch.testing.assert_close(ours.double(), expected, rtol=2e-3 if mean else 1e-5, atol=2e-3 if mean else 1e-5)


def mixer_of(**options: Any) -> Megalodon:
    block = Case(options=OPTIONS | options | {"n_layer": 1, "context": 64}).far_from_linear().blocks[0]
    assert isinstance(block, TwoHopBlock)
    return cast(Megalodon, block.mixer)


@torch.no_grad()
def test_averages_alone_cross_a_chunk() -> None:
    """With averages of nothing but the token itself, one sees its chunk alone; with them, all before."""
    mixer, g = mixer_of(), torch.Generator().manual_seed(0)
    x, where = torch.randn(1, 12, 32, generator=g), Where(torch.ones(12, 8), torch.zeros(12, 8), None)
    for kept, seen in (([1.0] * 2, list(range(11))), ([0.0] * 2, [8, 9, 10])):
        for weights, share in zip((mixer.average.weight_re, mixer.average.weight_im), kept, strict=True):
            weights.mul_(share)
        for place in range(12):
            other = x.clone()
            other[0, place] += 1
            changed = not torch.equal(mixer(x, where, {})[0][0, 10], mixer(other, where, {})[0][0, 10])
            assert changed == (place in seen)


def test_what_is_kept_has_the_size_of_a_chunk() -> None:
    net = Case(options=OPTIONS).network()
    states = [net.initial_state(1, length, torch.float32).blocks[0].parts[0] for length in (4, 16)]
    assert states[0].near.keys.shape == states[1].near.keys.shape == (1, 4, 4, 8)
    assert states[0].near.values.shape == states[1].near.values.shape == (1, 4, 4, 16)
    assert states[0].averages.shape == states[1].averages.shape == (32, 1, 6)


def test_operations_by_hand() -> None:
    """d 32, chunks of 4 in 16 tokens: 2.5 tokens on average; averages: all 16 pairs, and a state written and read."""
    config = Case(options=OPTIONS).config()
    near, averages = 3 * 32 * 2.5, 32 * (16 + 4 * 3)
    counts = Megalodon.counts(config, config.layer(0))
    assert counts == Counts(8 * 32**2 + 4 * 3 * 32 + 7 * 32, 8 * 32**2 + near + averages)


@torch.no_grad()
def test_beside_experts_it_reads_token_by_token_as_at_once() -> None:
    net, ids = Case(options=OPTIONS | {"experts": 4}).far_from_linear(), tokens(2)
    state = net.initial_state(2, 16, torch.float32)
    pieces = torch.stack([net.step(ids[:, t : t + 1], state) for t in range(16)], dim=1)
    torch.testing.assert_close(pieces, net(ids), rtol=1e-4, atol=1e-4)


def test_values_may_be_wider_than_queries_beside_a_mask() -> None:
    """In the form for a GPU: widths that its kernels don't take, keys in groups."""
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 7, width, generator=g) for heads, width in ((4, 6), (2, 6), (2, 12)))
    mask = torch.ones(7, 7, dtype=torch.bool).tril()
    torch.testing.assert_close(masked(q, k, v, mask), written_out(q, k, v, mask))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "latent"}, '`attention` is "latent", but must be "full" where mixer = "megalodon"'),
        ({"positions": "alibi"}, '`positions` is "alibi", but must be "rope" where mixer = "megalodon"'),
        ({"window": 4}, "`window` is 4, but must be 0 where"),
        ({"window": 4, "global_every": 2}, "`window` is 4, but must be 0 where"),
        ({"qk_norm": True}, "`qk_norm` is true, but must be false where"),
        ({"segment": 4}, "`segment` is 4, but must be 0 where"),
        ({"depth_capacity": 0.5}, "`depth_capacity` is 0.5, but must be 0 where mixer"),
        ({"kv_blocks": 2}, '`kv_blocks` is 2, but must be 1 where mixer = "megalodon"'),
        ({"value_residual": True}, "`value_residual` is true, but must be false where"),
        ({"document_mask": True}, "`document_mask` is true, but must be false where"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ModelConfig(mixer="megalodon", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("wanted", "groups"), [(1, 1), (32, 16), (12, 8), (16, 16), (1000, 16)])
def test_groups_divide_the_width_and_have_two_channels_or_more(wanted: int, groups: int) -> None:
    assert ModelConfig(n_head=4, head_dim=8, norm_groups=wanted).timestep_groups == groups


def test_attention_is_the_last_of_each_group_in_a_plain_block() -> None:
    config = ModelConfig(n_layer=3, mixer="megalodon", attention_every=3)
    kinds = [(layer.mixer, layer.block) for layer in config.layers]
    assert kinds == [("megalodon", "two_hop")] * 2 + [("full", "block")]
