"""Chunked products against the recurrence that they stand for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.config import ModelConfig
from model.errors import SettingsError
from model.network.mixers.state_space import state_space
from tests.model.network.case import Case


def recurrence(inputs: Tensor, log_decay: Tensor, b: Tensor, c: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    outputs = []
    for t in range(inputs.shape[1]):
        state = state * log_decay[:, t].exp()[:, None, :, None] + torch.einsum("bn,bhp->bnhp", b[:, t], inputs[:, t])
        outputs.append(torch.einsum("bn,bnhp->bhp", c[:, t], state))
    return torch.stack(outputs, dim=1), state


@given(length=st.integers(1, 40), chunk=st.integers(1, 24), scale=st.sampled_from([0.01, 1.0, 50.0]))
@settings(deadline=None, max_examples=30)
def test_chunks_of_any_length_are_the_recurrence(length: int, chunk: int, scale: float) -> None:
    """From any state on, in float64, gradients too; whether states last or are forgotten at once."""
    g = torch.Generator().manual_seed(length * 100 + chunk)
    shapes = ((2, length, 3, 4), (2, length, 3), (2, length, 5), (2, length, 5), (2, 5, 3, 4))
    made = [torch.randn(shape, generator=g, dtype=torch.float64) for shape in shapes]
    made[1] = -scale * made[1].abs()
    made = [t.requires_grad_() for t in made]
    x, log_decay, b, c, state = made
    results = state_space(x, log_decay, b, c, state, chunk), recurrence(x, log_decay, b, c, state)
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    gradients = [torch.autograd.grad(torch.stack([t.cos().sum() for t in both]).sum(), made) for both in results]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_a_state_reaches_beyond_a_chunk_and_chunks_change_nothing() -> None:
    ids = torch.arange(64)[None]
    nets = [Case(options={"mixer": "mamba2", "ssm_chunk": n, "context": 64}).network() for n in (4, 64)]
    torch.testing.assert_close(nets[0](ids), nets[1](ids), rtol=1e-5, atol=1e-6)
    other = ids.clone()
    other[0, 0] = 70
    assert (nets[0](ids)[0, -1] - nets[0](other)[0, -1]).abs().max() > 1e-5


def test_a_state_keeps_no_more_of_a_longer_text() -> None:
    net = Case(options={"mixer": "mamba2"}).network()
    sizes = [
        sum(t.numel() for mixer, _ in net.initial_state(1, length, torch.float32).blocks for t in mixer)
        for length in (1, 16)
    ]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention_every": 2}, '`attention_every` is 2, but must be 0 where mixer = "attention"'),
        ({"mixer": "mamba2", "kv_blocks": 2}, '`kv_blocks` is 2, but must be 1 where mixer = "mamba2"'),
        ({"mixer": "mamba2", "value_residual": True}, "`value_residual` is true, but must be false where"),
        ({"mixer": "mamba2", "document_mask": True}, "`document_mask` is true, but must be false where"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ModelConfig(**options)  # type: ignore[arg-type]


def test_attention_is_the_last_of_each_group() -> None:
    config = ModelConfig(n_layer=5, mixer="mamba2", attention_every=2)
    assert [layer.mixer for layer in config.layers] == ["mamba2", "full", "mamba2", "full", "mamba2"]
