"""A mixture of depths in training, where the largest weights of the router choose, and its predictor."""

from typing import Any

import pytest
import torch
from torch import Tensor

from model.config import ModelConfig
from model.errors import SettingsError
from model.network.blocks.depths import DepthsBlock
from model.network.flops import count_active_parameters, count_parameters
from model.network.loss import batch_loss
from model.network.part import PENALTY
from model.network.transformer import Transformer
from tests.model.network.case import CONTEXT, VOCAB, Case, tokens
from tests.model.network.ideas.depths import Depths


class Largest(Depths):
    def taken(self, seen: Tensor, p: str) -> list[int]:
        weights = (seen @ self.w[p + "router"]).tolist()
        ranked = sorted(range(len(seen)), key=lambda t: weights[t], reverse=True)
        return sorted(ranked[: -int(-self.c.depth_capacity * len(seen) // 1)])


def choosing(net: Transformer) -> DepthsBlock:
    block = net.blocks[1]
    assert isinstance(block, DepthsBlock)
    return block


@pytest.mark.parametrize("options", [{}, {"window": 5}, {"document_mask": True}], ids=["whole", "window", "documents"])
def test_in_training_it_is_the_papers_choice_written_out(options: dict[str, Any]) -> None:
    net = Case(options={"depth_capacity": 0.3, **options}).far_from_linear().train()
    ids = tokens(2)
    if "document_mask" in options:  # the loops have no documents: one each
        ids = ids.clamp(min=3)
    logits = net(ids)
    for row, ours in zip(ids, logits, strict=True):
        torch.testing.assert_close(ours.double(), Largest(net).logits(row)[0], rtol=1e-4, atol=1e-4)


def test_within_documents_the_chosen_tokens_see_their_own_alone() -> None:
    """In training, with every token chosen but one: a document's logits are those of another one before it."""
    net = Case(options={"depth_capacity": 0.99, "document_mask": True, "n_layer": 2}).far_from_linear().train()
    ids = tokens(1)
    begin = CONTEXT // 2 - 2
    other = ids.clone()
    other[:, 1:begin] = (other[:, 1:begin] + 1 - 3) % (VOCAB - 3) + 3
    torch.testing.assert_close(net(ids)[:, begin:], net(other)[:, begin:], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(net(ids)[:, 2:begin], net(other)[:, 2:begin])


def test_the_predictors_loss_reaches_the_predictor_alone() -> None:
    net = Case(options={"depth_capacity": 0.5}).network().train()
    penalty = net.outputs(tokens())[1][PENALTY]
    named = dict(net.named_parameters())
    gradients = torch.autograd.grad(penalty, list(named.values()), allow_unused=True)
    reached = {n for n, g in zip(named, gradients, strict=True) if g is not None and g.any()}
    assert reached == {f"blocks.1.{n}" for n in ("predictor_up.weight", "predictor", "predictor_bias")}
    loss, nats = batch_loss(net, torch.zeros(1, CONTEXT + 1, dtype=torch.int64))
    assert loss > nats


def test_the_predictor_learns_what_the_router_chooses() -> None:
    net = Case(options={"depth_capacity": 0.25}).far_from_linear().train()
    block, ids = choosing(net), torch.randint(0, VOCAB, (16, CONTEXT), generator=torch.Generator().manual_seed(3))
    seen: list[Tensor] = []
    block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    optimizer = torch.optim.Adam([block.predictor_up.weight, block.predictor, block.predictor_bias], lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        net.outputs(ids)[1][PENALTY].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    weight, likely = block._weights(seen[-1])
    taken = torch.zeros_like(weight).scatter(1, weight.topk(CONTEXT // 4, dim=1).indices, 1.0)
    assert ((likely > 0) == taken.bool()).float().mean() > 0.85


def test_parameters_are_active_for_the_share_of_tokens_that_is_chosen() -> None:
    config = ModelConfig(n_layer=2, n_head=4, head_dim=8, context=CONTEXT, depth_capacity=0.25)
    plain = ModelConfig(n_layer=2, n_head=4, head_dim=8, context=CONTEXT)
    block = (count_parameters(plain, VOCAB) - VOCAB * 32 - 32) // 2
    router = 32 + 32 * 64 + 64 + 1
    assert count_parameters(config, VOCAB) == count_parameters(plain, VOCAB) + router
    assert count_active_parameters(config, VOCAB) == count_parameters(plain, VOCAB) + router - 3 * block // 4


@pytest.mark.parametrize(
    "options",
    [{"positions": "alibi"}, {"experts": 4}, {"kv_blocks": 2}, {"value_residual": True}, {"embedding_shortcut": True}],
    ids=lambda o: next(iter(o)),
)
def test_what_needs_every_token_is_refused_beside_it(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"`depth_capacity` is 0\.5, but must be 0"):
        ModelConfig(depth_capacity=0.5, **options)
