import math

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError
from torch import Tensor

from model.config import ModelConfig
from model.network import Transformer, count_parameters, rotate, rotations

CONFIG = ModelConfig(n_layer=2, n_head=3, head_dim=8, context=16)
VOCAB = 97


def network(seed: int = 0) -> Transformer:
    return Transformer(CONFIG, VOCAB, torch.Generator().manual_seed(seed)).eval()


def tokens(batch: int = 2, length: int = 16) -> Tensor:
    return torch.randint(0, VOCAB, (batch, length), generator=torch.Generator().manual_seed(1))


def test_an_untrained_network_is_as_good_as_a_uniform_guess() -> None:
    logits = network()(tokens(8))
    targets = torch.randint(0, VOCAB, (8 * 16,), generator=torch.Generator().manual_seed(2))
    loss = F.cross_entropy(logits.flatten(0, 1), targets)
    assert loss.item() == pytest.approx(math.log(VOCAB), rel=0.03)


def test_the_future_changes_nothing() -> None:
    before = tokens()
    after = before.clone()
    after[:, 9:] = (after[:, 9:] + 1) % VOCAB
    net = network()
    a, b = net(before), net(after)
    torch.testing.assert_close(a[:, :9], b[:, :9])
    assert not torch.allclose(a[:, 9:], b[:, 9:])


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    cosine, sine = rotations(32, 8, 10_000.0)
    q, k = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)).unbind(0)
    turned_q, turned_k = (rotate(x.expand(1, 1, 32, 8), cosine, sine)[0, 0] for x in (q, k))
    scores = turned_q @ turned_k.T
    for distance in range(5):
        diagonal = scores.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm().expand(32))


def naive(net: Transformer, ids: Tensor) -> Tensor:
    """The same network in float64 with loops, complex rotations and a written-out softmax."""
    w = {k: v.double() for k, v in net.state_dict().items()}

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + torch.finfo(torch.float32).eps).sqrt() * weight

    def turn(x: Tensor, position: int) -> Tensor:
        half = len(x) // 2
        angle = position * CONFIG.rope_base ** (-torch.arange(half, dtype=torch.float64) * 2 / len(x))
        pairs = torch.complex(x[:half], x[half:]) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat((pairs.real, pairs.imag))

    x = w["embedding.weight"][ids]
    for i in range(CONFIG.n_layer):
        p = f"blocks.{i}."
        qkv = norm(x, w[p + "attention_norm.weight"]) @ w[p + "attention.qkv.weight"].T
        q, k, v = qkv.reshape(len(ids), 3, CONFIG.n_head, CONFIG.head_dim).unbind(1)
        gathered = torch.zeros(len(ids), CONFIG.n_head, CONFIG.head_dim, dtype=torch.float64)
        for h in range(CONFIG.n_head):
            for t in range(len(ids)):
                scores = torch.stack([turn(q[t, h], t) @ turn(k[s, h], s) for s in range(t + 1)])
                weights = (scores / math.sqrt(CONFIG.head_dim)).exp()
                gathered[t, h] = (weights / weights.sum()) @ v[: t + 1, h]
        x = x + gathered.flatten(1) @ w[p + "attention.out.weight"].T
        hidden = norm(x, w[p + "mlp_norm.weight"]) @ w[p + "mlp.up.weight"].T
        gelu = 0.5 * hidden * (1 + torch.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
        x = x + gelu @ w[p + "mlp.down.weight"].T
    logits: Tensor = norm(x, w["norm.weight"]) @ w["embedding.weight"].T
    return logits


def test_it_is_the_network_written_out() -> None:
    net = network()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3)  # away from the near-linear regime of small weights
    ids = tokens(1)[0]
    torch.testing.assert_close(net(ids[None])[0].double(), naive(net, ids), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1, 16, 4.0), (3, 4, 32, 4.0), (2, 3, 8, 2.5)])
def test_parameters_by_closed_form(shape: tuple[int, int, int, float]) -> None:
    n_layer, n_head, head_dim, ratio = shape
    config = ModelConfig(n_layer=n_layer, n_head=n_head, head_dim=head_dim, mlp_ratio=ratio)
    assert count_parameters(config, 1000) == sum(p.numel() for p in Transformer(config, 1000).parameters())


def test_weights_are_a_function_of_the_seed_and_the_global_stream_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, same, other = network(1), network(1), network(2)
    torch.testing.assert_close(torch.rand(1), expected)
    assert torch.equal(first.embedding.weight, same.embedding.weight)
    assert not torch.equal(first.embedding.weight, other.embedding.weight)


def test_shapes_are_checked_while_tests_run() -> None:
    """The house's rule, tested on itself: 4 positions don't fit 5 rotations."""
    with pytest.raises(TypeCheckError):
        rotate(torch.zeros(1, 1, 4, 8), *rotations(5, 8, 1e4))
