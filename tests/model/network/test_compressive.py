"""What a memory of segments reaches, keeps and refuses."""

from typing import Any, cast

import pytest
import torch

from model.config import ModelConfig
from model.errors import SettingsError
from model.network.counts import Counts
from model.network.mixers.compressive import CompressiveAttention, Memory
from tests.model.network.case import Case, tokens

SEGMENTS = Case(options={"segment": 4})


@torch.no_grad()
def test_gates_tell_segment_and_memory_apart() -> None:
    """Shut, nothing of an earlier segment is seen; open, nothing of the own one: through one block, by hand."""
    net, before = Case(options={"segment": 4, "n_layer": 1}).far_from_linear(), tokens(1)
    for gate, seen in ((-1e4, [8, 9]), (1e4, list(range(8)))):
        cast(Any, net.blocks[0]).attention.gate.fill_(gate)
        for place in range(10):
            after = before.clone()
            after[0, place] = (after[0, place] + 1) % 97
            assert torch.equal(net(before)[0, 10], net(after)[0, 10]) == (place not in seen)


def test_a_memory_of_one_token_gives_its_value_back() -> None:
    """σ(q) σ(k)ᵀ v ÷ (σ(q) · σ(k)) = v, whatever is asked."""
    q, k, v = torch.randn(3, 2, 4, 1, 8, generator=torch.Generator().manual_seed(0)).unbind(0)
    torch.testing.assert_close(Memory.of(k, v).read(q), v)


def test_what_is_kept_has_the_size_of_a_segment() -> None:
    net = SEGMENTS.network()
    states = [net.initial_state(1, length, torch.float32).blocks[0][0] for length in (4, 16)]
    assert states[0].near.keys.shape == states[1].near.keys.shape == (1, 4, 4, 8)


def test_operations_by_hand() -> None:
    """d 32, 4 heads of 8, segments of 4 in 16 tokens: 2.5 tokens on average, and 3 of 4 segments written and read."""
    config = SEGMENTS.config()
    near, far = 2 * 32 * 2.5, 3 / 4 * (4 + 4) * 8 * 8
    assert CompressiveAttention.counts(config, config.layer(0)) == Counts(4 * 32**2 + 4, 4 * 32**2 + near + far)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "latent"}, '`attention` is "latent", but must be "full" or "grouped" where segment > 0'),
        ({"window": 4}, "`window` is 4, but must be 0 where segment > 0"),
        ({"positions": "alibi"}, '`positions` is "alibi", but must be "rope" where segment > 0'),
        ({"kv_blocks": 2}, "`kv_blocks` is 2, but must be 1 where segment > 0"),
        ({"document_mask": True}, "`document_mask` is true, but must be false where segment > 0"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ModelConfig(segment=8, **options)  # type: ignore[arg-type]


def test_beside_states_only_the_blocks_with_attention_have_a_memory() -> None:
    config = ModelConfig(n_layer=4, mixer="mamba2", attention_every=2, segment=8)
    assert [layer.mixer for layer in config.layers] == ["mamba2", "compressive"] * 2
