import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError
from torch import Tensor

from model.config import ModelConfig
from model.network.attention import attend, attention_mask, masked, rotate, rotations, written_out
from model.network.transformer import Transformer

VOCAB = 97
MENU: dict[str, dict[str, Any]] = {
    "plain": {},
    "grouped": {"attention": "grouped", "n_kv_head": 2},
    "one key head": {"attention": "grouped", "n_kv_head": 1},
    "latent": {"attention": "latent", "projection_dim": 12},
    "window": {"window": 5},
    "alibi": {"positions": "alibi"},
    "alibi in a window, grouped": {"positions": "alibi", "window": 7, "attention": "grouped", "n_kv_head": 2},
    "relu2": {"mlp": "relu2"},
    "swiglu": {"mlp": "swiglu", "mlp_ratio": 3.0},
    "qk_norm": {"qk_norm": True},
    "softcap": {"logit_softcap": 3.0},
    "untied": {"tied": False},
    "two heads further on": {"mtp_heads": 2},
    "all at once": {
        "attention": "latent",
        "projection_dim": 12,
        "window": 6,
        "mlp": "swiglu",
        "qk_norm": True,
        "logit_softcap": 5.0,
        "tied": False,
        "mtp_heads": 1,
    },
}
every_option = pytest.mark.parametrize("options", MENU.values(), ids=MENU)


def network(seed: int = 0, **options: Any) -> Transformer:
    config = ModelConfig(n_layer=2, n_head=4, head_dim=8, context=16, **options)
    return Transformer(config, VOCAB, torch.Generator().manual_seed(seed)).eval()


def tokens(batch: int = 2, length: int = 16) -> Tensor:
    return torch.randint(0, VOCAB, (batch, length), generator=torch.Generator().manual_seed(1))


@every_option
def test_an_untrained_network_is_as_good_as_a_uniform_guess(options: dict[str, Any]) -> None:
    logits = network(**options)(tokens(8))
    targets = torch.randint(0, VOCAB, (8 * 16,), generator=torch.Generator().manual_seed(2))
    loss = F.cross_entropy(logits.flatten(0, 1), targets)
    assert loss.item() == pytest.approx(math.log(VOCAB), rel=0.03)


@every_option
def test_the_future_changes_nothing(options: dict[str, Any]) -> None:
    before = tokens()
    after = before.clone()
    after[:, 9:] = (after[:, 9:] + 1) % VOCAB
    net = network(**options)
    a, b = net(before), net(after)
    torch.testing.assert_close(a[:, :9], b[:, :9])
    assert not torch.allclose(a[:, 9:], b[:, 9:])


def test_a_window_forgets_what_lies_further_back() -> None:
    """Two blocks of window 3 reach back 2 · (3 − 1) = 4 places and no further."""
    net, before = network(window=3), tokens(1)
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


@pytest.mark.parametrize("options", [MENU[k] for k in ("plain", "grouped", "window", "alibi")])
def test_attention_written_out_is_torchs(options: dict[str, Any]) -> None:
    config = ModelConfig(n_layer=1, n_head=4, head_dim=8, context=16, **options)
    mask, g = attention_mask(config), torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, 16, 8, generator=g) for n in (4, config.kv_heads, config.kv_heads))
    torch.testing.assert_close(written_out(q, k, v, mask), attend(q, k, v, mask))


@pytest.mark.parametrize("head_dim", [8, 6, 20])
@pytest.mark.parametrize("options", [MENU[k] for k in ("window", "alibi", "alibi in a window, grouped")])
def test_masked_attention_is_a_softmax_over_what_is_seen(options: dict[str, Any], head_dim: int) -> None:
    """By its definition, in float64, a head at a time; and its gradients."""
    config = ModelConfig(n_layer=1, n_head=4, head_dim=head_dim, context=16, **options)
    mask, g = attention_mask(config), torch.Generator().manual_seed(0)
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


class Naive:
    """The same network in float64: loops, complex rotations, a written-out softmax, each option by its definition."""

    def __init__(self, net: Transformer) -> None:
        self.c, self.w = net.config, {k: v.double() for k, v in net.state_dict().items()}

    def norm(self, x: Tensor, name: str) -> Tensor:
        eps = torch.finfo(torch.float32).eps
        scaled: Tensor = x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * self.w[name + ".weight"]
        return scaled

    def turn(self, x: Tensor, position: int) -> Tensor:
        half = len(x) // 2
        angle = position * self.c.rope_base ** (-torch.arange(half, dtype=torch.float64) * 2 / len(x))
        pairs = torch.complex(x[:half], x[half:]) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat((pairs.real, pairs.imag))

    def heads(self, x: Tensor, p: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (T, H, K), keys and values (T, G, K)."""
        c, w = self.c, self.w
        if c.attention == "latent":
            q, kv = x @ w[p + "q.weight"].T, (x @ w[p + "kv_down.weight"].T) @ w[p + "kv_up.weight"].T
        else:
            both = x @ w[p + "qkv.weight"].T
            q, kv = both[:, : c.d_model], both[:, c.d_model :]
        k, v = kv.chunk(2, dim=-1)
        q, k, v = (t.reshape(len(x), -1, c.head_dim) for t in (q, k, v))
        return (self.norm(q, p + "q_norm"), self.norm(k, p + "k_norm"), v) if c.qk_norm else (q, k, v)

    def attention(self, x: Tensor, p: str) -> Tensor:
        c = self.c
        q, k, v = self.heads(x, p)
        gathered = torch.zeros(len(x), c.n_head, c.head_dim, dtype=torch.float64)
        for h in range(c.n_head):
            g = h // (c.n_head // k.shape[1])
            for t in range(len(x)):
                first = max(0, t - c.window + 1) if c.window else 0
                scores = []
                for s in range(first, t + 1):
                    if c.positions == "rope":
                        score = self.turn(q[t, h], t) @ self.turn(k[s, g], s) / math.sqrt(c.head_dim)
                    else:
                        score = q[t, h] @ k[s, g] / math.sqrt(c.head_dim) - 2 ** (-8 * (h + 1) / c.n_head) * (t - s)
                    scores.append(score)
                weights = torch.stack(scores).exp()
                gathered[t, h] = (weights / weights.sum()) @ v[first : t + 1, g]
        out: Tensor = gathered.flatten(1) @ self.w[p + "out.weight"].T
        return out

    def mlp(self, x: Tensor, p: str) -> Tensor:
        h = x @ self.w[p + "up.weight"].T
        if self.c.mlp == "swiglu":
            gate, value = h.chunk(2, dim=-1)
            h = gate / (1 + torch.exp(-gate)) * value
        elif self.c.mlp == "relu2":
            h = h.clamp(min=0) ** 2
        else:
            h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
        down: Tensor = h @ self.w[p + "down.weight"].T
        return down

    def block(self, x: Tensor, p: str) -> Tensor:
        x = x + self.attention(self.norm(x, p + "attention_norm"), p + "attention.")
        return x + self.mlp(self.norm(x, p + "mlp_norm"), p + "mlp.")

    def logits(self, ids: Tensor) -> list[Tensor]:
        """Return those of the next token, then those of each head further on."""
        x = self.w["embedding.weight"][ids]
        for i in range(self.c.n_layer):
            x = self.block(x, f"blocks.{i}.")
        states = [self.norm(x, "norm")]
        states += [self.norm(self.block(x, f"mtp.{i}.block."), f"mtp.{i}.norm") for i in range(self.c.mtp_heads)]
        out = self.w["embedding.weight" if self.c.tied else "unembedding.weight"]
        cap = self.c.logit_softcap
        return [cap * torch.tanh(s @ out.T / cap) if cap else s @ out.T for s in states]


@every_option
def test_it_is_the_network_written_out(options: dict[str, Any]) -> None:
    net = network(**options)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3)  # away from the near-linear regime of small weights
    ids = tokens(1)[0]
    expected = Naive(net).logits(ids)
    torch.testing.assert_close(net(ids[None])[0].double(), expected[0], rtol=1e-4, atol=1e-4)
    further = net.states(ids[None], net.config.mtp_heads)[1:]
    assert len(further) == len(expected) - 1
    for states, logits in zip(further, expected[1:], strict=True):
        cap = net.config.logit_softcap
        ours = states[0] @ net.output_weight.T
        ours = cap * torch.tanh(ours / cap) if cap else ours
        torch.testing.assert_close(ours.double(), logits, rtol=1e-4, atol=1e-4)


@every_option
def test_a_narrow_stream_is_the_same_network_but_for_rounding(options: dict[str, Any]) -> None:
    """In bfloat16 throughout: the stream itself is rounded, norms stay in float32, and no weight is another."""
    net = network(**options)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        wide = net.states(tokens(), 1)
        net.narrow_stream = True
        narrow = net.states(tokens(), 1)
        stream = net.blocks[0](net.embedding(tokens()).bfloat16(), *net.positions(16))
    assert stream.dtype == torch.bfloat16
    for a, b in zip(wide, narrow, strict=True):
        assert b.dtype == torch.float32
        assert 0 < (a - b).abs().mean() < 0.02 * a.abs().mean()
    exact = net.states(tokens())[0]
    net.narrow_stream = False
    assert torch.equal(exact, net.states(tokens())[0])  # without autocast there is nothing to narrow to


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
        rotate(torch.zeros(1, 1, 4, 8), *rotations(ModelConfig(head_dim=8, context=8)))
