"""Clipped scores against scores found by loops in float64, at a learning rate of 0: weights move by the clip alone."""

from typing import Any

import pytest
import torch
from torch import Tensor

from model.config import TrainConfig
from model.network.loss import batch_loss
from model.network.transformer import Transformer
from model.training.optimizer import Optimizer
from tests.model.network.case import CONTEXT, Case
from tests.model.network.ideas.shared_keys import Shared
from tests.model.network.ideas.tracks import Tracked

SHARED_KEYS: dict[str, dict[str, Any]] = {
    "grouped": {"attention": "grouped", "n_kv_head": 2, "positions": "alibi"},
    "keys of two blocks": {"kv_blocks": 2},
    "tracks, grouped": {"tracks": 2, "attention": "grouped", "n_kv_head": 2},
}
OWN_KEYS: dict[str, dict[str, Any]] = {
    "plain": {"window": 5},
    "latent": {"attention": "latent", "projection_dim": 12},
    "within segments": {"segment": 5, "n_layer": 1},
    "tracks": {"tracks": 2},
}
OPTIONS = SHARED_KEYS | OWN_KEYS


class Watching(Shared):
    """Keeps the largest score of each head of each block (L, H)."""

    def __init__(self, net: Transformer) -> None:
        super().__init__(net)
        self.largest = torch.zeros(net.config.n_layer, net.config.n_head)

    def first_seen(self, t: int, index: int | None) -> int:
        return t - t % self.c.segment if self.c.segment else super().first_seen(t, index)

    def mixer(self, x: Tensor, p: str, index: int | None) -> Tensor:
        assert index is not None
        q, k, _ = self.heads(x, p, index)
        for h in range(q.shape[1]):
            g = h // (q.shape[1] // k.shape[1])
            for t in range(len(x)):
                for s in range(self.first_seen(t, index), t + 1):
                    a, b = q[t, h], k[s, g]
                    if self.c.positions == "rope":
                        a, b = self.turn(a, t), self.turn(b, s)
                    score = float(a @ b) / self.c.head_dim**0.5
                    number = self.head_number(h, index)
                    self.largest[index, number] = max(float(self.largest[index, number]), score)
        return super().mixer(x, p, index)


class WatchingTracks(Watching, Tracked):
    """The same in each of several tracks."""


def largest(net: Transformer, rows: Tensor) -> Tensor:
    """Return the largest score of each block's heads (L, H) over all rows."""
    loops = WatchingTracks(net) if net.config.tracks > 1 else Watching(net)
    for row in rows:
        loops.logits(row[:-1])
    return loops.largest


def stepped(net: Transformer, rows: Tensor, limit: float) -> None:
    optimizer = Optimizer(net, TrainConfig(qk_clip=limit))
    optimizer.rate.zero_()
    with torch.inference_mode():
        net(100 * rows[:, :-1] % net.vocab_size)  # where a network is measured, nothing is counted
    for micro in torch.split(rows, 1):
        batch_loss(net, micro)[0].backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def heads_of(net: Transformer) -> list[tuple[Tensor, Tensor | None]]:
    """Return each block's query weights by head (H, K, D), and its key weights where every head has its own."""
    c, found = net.config, []
    for i in range(c.n_layer):
        weights = {k.split("attention.")[1]: v for k, v in net.state_dict().items() if f"blocks.{i}.attention." in k}
        if c.tracks > 1:  # a matrix for each track
            rows = weights["qkv.weight"].unflatten(1, (-1, c.head_dim))
            each, own = c.n_head // c.tracks, c.kv_heads == c.n_head
            parts = rows[:, :each].flatten(0, 1).clone(), rows[:, each : 2 * each].flatten(0, 1).clone()
            found.append((parts[0], parts[1] if own else None))
            continue
        q = weights["qkv.weight" if "qkv.weight" in weights else "q.weight"][: c.d_model].clone()
        k = None
        if "kv_up.weight" in weights:
            k = weights["kv_up.weight"][: c.d_model].clone().unflatten(0, (c.n_head, -1))
        elif c.kv_heads == c.n_head and c.kv_blocks == 1:
            k = weights["qkv.weight"][c.d_model : 2 * c.d_model].clone().unflatten(0, (c.n_head, -1))
        found.append((q.unflatten(0, (c.n_head, -1)), k))
    return found


@pytest.mark.parametrize("name", OPTIONS)
def test_heads_above_the_limit_are_scaled_to_it_and_no_others(name: str) -> None:
    net = Case(options=OPTIONS[name]).far_from_linear()
    rows = torch.randint(0, net.vocab_size, (2, CONTEXT + 1), generator=torch.Generator().manual_seed(6))
    scores = largest(net, rows)
    limit = float(scores.median())
    before = {k: v.clone() for k, v in net.state_dict().items()}
    heads_before = heads_of(net)
    stepped(net, rows, limit)
    factors = (limit / scores).clamp(max=1)
    assert (factors == 1).any()
    assert (factors < 1).any()
    for factor, (q, k), (q_before, k_before) in zip(factors, heads_of(net), heads_before, strict=True):
        share = factor if k is None else factor.sqrt()
        torch.testing.assert_close(q, q_before * share[:, None, None], rtol=1e-4, atol=0)
        if k is not None and k_before is not None:
            torch.testing.assert_close(k, k_before * share[:, None, None], rtol=1e-4, atol=0)
    torch.testing.assert_close(largest(net, rows)[0], scores[0].clamp(max=limit), rtol=1e-4, atol=1e-5)
    others = [n for n in before if ".attention." not in n or n.endswith("out.weight")]
    assert all(torch.equal(net.state_dict()[n], before[n]) for n in others)


def test_without_a_limit_no_score_is_looked_for() -> None:
    net = Case().network()
    Optimizer(net, TrainConfig())
    assert not [m for m in net.modules() if getattr(m, "largest", None) is not None]
