"""What every network of the menu must be, whatever its parts."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.model.network.case import CONTEXT, VOCAB, Case, tokens
from tests.model.network.menu import every_case


@every_case
def test_an_untrained_network_is_as_good_as_a_uniform_guess(case: Case) -> None:
    logits = case.network()(tokens(8))
    targets = torch.randint(0, VOCAB, (8 * CONTEXT,), generator=torch.Generator().manual_seed(2))
    loss = F.cross_entropy(logits.flatten(0, 1), targets)
    assert loss.item() == pytest.approx(math.log(VOCAB), rel=0.03)


@every_case
def test_the_future_changes_nothing(case: Case) -> None:
    before = tokens()
    net = case.far_from_linear()
    a = net(before)
    for changed in range(1, CONTEXT, 3):
        after = before.clone()
        after[:, changed:] = (after[:, changed:] + 1) % VOCAB
        b = net(after)
        torch.testing.assert_close(a[:, :changed], b[:, :changed])
        assert not torch.allclose(a[:, changed:], b[:, changed:])


@every_case
def test_it_is_the_network_written_out(case: Case) -> None:
    net, ids = case.far_from_linear(), tokens(1)[0]
    expected = case.reference(net).logits(ids)
    torch.testing.assert_close(net(ids[None])[0].double(), expected[0], rtol=case.tolerance, atol=case.tolerance)
    further = net.states(ids[None], net.config.mtp_heads)[1:]
    assert len(further) == len(expected) - 1
    for states, logits in zip(further, expected[1:], strict=True):
        cap = net.config.logit_softcap
        ours = states[0] @ net.output_weight.T
        ours = cap * torch.tanh(ours / cap) if cap else ours
        torch.testing.assert_close(ours.double(), logits, rtol=case.tolerance, atol=case.tolerance)


@every_case
def test_a_narrow_stream_is_the_same_network_but_for_rounding(case: Case) -> None:
    """In bfloat16 throughout: the stream itself is rounded, norms stay in float32, and no weight is another."""
    net = case.network()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        wide = net.states(tokens(), 1)
        net.narrow_stream = True
        narrow = net.states(tokens(), 1)
        where = net.positions(tokens())[net.layers[0].window]
        x = net.embedding(tokens()).bfloat16()
        stream, _ = net.blocks[0](x, where, net.handed_on_first(x))
    assert stream.dtype == torch.bfloat16
    for a, b in zip(wide, narrow, strict=True):
        assert b.dtype == torch.float32
        assert 0 < (a - b).abs().mean() < case.narrow * a.abs().mean()
    exact = net.states(tokens())[0]
    net.narrow_stream = False
    assert torch.equal(exact, net.states(tokens())[0])  # without autocast there is nothing to narrow to
