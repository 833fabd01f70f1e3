"""Parallel tracks: what they hold, what they see of one another, and what they refuse."""

from typing import Any

import pytest
import torch

from model.config import ModelConfig
from model.errors import SettingsError
from model.network.counts import Counts
from model.network.flops import count_parameters, flops_per_token
from model.network.linears.stack import Stack
from model.network.mixers.tracks import TrackAttention
from model.network.mlps.tracks import TrackMLP
from model.network.transformer import Transformer
from tests.model.network.case import Case, tokens
from tests.model.network.ideas.documents import Within
from tests.model.network.ideas.tracks import Tracked


class TrackedWithin(Tracked, Within):
    """Tracks that stay within a document."""


def test_parameters_and_operations_are_the_plain_networks_but_for_norms() -> None:
    plain: dict[str, Any] = {"n_layer": 6, "n_head": 4, "head_dim": 64}
    tracks = plain | {"tracks": 4}
    sizes = [count_parameters(ModelConfig(**o), 1000) for o in (plain, tracks)]
    assert sizes[1] - sizes[0] == 6 * 2 * 3 * 256
    assert flops_per_token(ModelConfig(**plain), 1000) == flops_per_token(ModelConfig(**tracks), 1000)


def test_counts_by_hand() -> None:
    """d 32, 4 heads of 8 in 2 tracks, one of keys in each: 2 · 32 · (16 + 16) and 2 · 16 · 32; 2 · 64 hidden."""
    config = Case(options={"tracks": 2, "attention": "grouped", "n_kv_head": 3}).config()
    layer = config.layer(0)
    assert config.kv_heads == 2
    assert TrackAttention.counts(config, layer) == Counts(3072, 3072 + 2 * 32 * 8.5)
    assert TrackMLP.counts(config, layer) == Counts(2 * 2 * 64 * 32, 2 * 2 * 64 * 32)


@torch.no_grad()
def test_within_a_group_a_track_sees_nothing_of_the_others() -> None:
    """Another matrix of track 0 in block 0 changes its stream alone, until the group's end joins them."""
    streams = []
    for factor in (1.0, 2.0):
        net, after = Case(options={"tracks": 2, "track_blocks": 2, "n_layer": 3}).far_from_linear(), list[Any]()
        for block in net.blocks:
            block.register_forward_hook(lambda _, __, result, after=after: after.append(result[0]))
        stack = next(m for m in net.blocks[0].modules() if isinstance(m, Stack))
        stack.weight[0].mul_(factor)
        net(tokens(2))
        streams.append(after)
    first, second = (x.unflatten(0, (2, 2)) for x in (streams[0][0], streams[1][0]))
    assert torch.equal(first[1], second[1])
    assert not torch.allclose(first[0], second[0])
    assert [x.shape[0] for x in streams[0]] == [4, 2, 2]
    assert not torch.allclose(streams[0][1], streams[1][1])


@torch.no_grad()
def test_within_documents_they_are_the_network_written_out() -> None:
    case = Case(options={"tracks": 2, "document_mask": True, "window": 6}, reference=TrackedWithin)
    net, ids = case.far_from_linear(), tokens(1)[0]
    torch.testing.assert_close(net(ids[None])[0].double(), case.reference(net).logits(ids)[0], rtol=1e-4, atol=1e-4)


def test_as_many_tracks_as_share_the_heads_evenly() -> None:
    assert [ModelConfig(n_head=6, tracks=n).n_tracks for n in (1, 2, 3, 4, 5, 6, 7)] == [1, 2, 3, 3, 3, 6, 6]
    one = ModelConfig(n_head=1, tracks=4, experts=2)  # nothing to share: the plain network, with anything beside it
    assert one.layers == ModelConfig(n_head=1, experts=2).layers
    assert Transformer(ModelConfig(n_head=4, tracks=4, n_layer=1), 320).config.layers[0].joins


@pytest.mark.parametrize(
    "options",
    [
        {"experts": 4},
        {"depth_capacity": 0.5, "depth_every": 3},
        {"kv_blocks": 2},
        {"attention": "latent"},
        {"mixer": "mamba2", "attention_every": 4},
        {"segment": 64},
        {"linear": "ring"},
        {"linear": "ternary", "linear_in": "mlp"},
    ],
    ids=lambda o: next(iter(o)),
)
def test_what_they_were_not_tried_with_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="`tracks` is 2, but must be 1 beside experts"):
        ModelConfig(tracks=2, **options)
