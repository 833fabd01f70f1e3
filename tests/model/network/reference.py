"""The plain network and its options in float64: loops, complex rotations, a written-out softmax.

An option of its own file has its reference beside its case: a subclass that overrides what the option changes.
"""

import math

import torch
from torch import Tensor

from model.network.transformer import Transformer


class Reference:
    def __init__(self, net: Transformer) -> None:
        self.c, self.w = net.config, {k: v.double() for k, v in net.state_dict().items()}

    def logits(self, ids: Tensor) -> list[Tensor]:
        """Return those of the next token (T, V), then those of each head further on."""
        self.embedded = x = self.embed(ids)
        for i in range(self.c.n_layer):
            x = self.block(x, f"blocks.{i}.", i)
        states = [self.norm(x, "norm")]
        states += [self.norm(self.block(x, f"mtp.{i}.block.", None), f"mtp.{i}.norm") for i in range(self.c.mtp_heads)]
        out = self.w["embedding.weight" if self.c.tied else "unembedding.weight"]
        cap = self.c.logit_softcap
        return [cap * torch.tanh(s @ out.T / cap) if cap else s @ out.T for s in states]

    def embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.w["embedding.weight"][ids]
        return embedded

    def block(self, x: Tensor, p: str, index: int | None) -> Tensor:
        """Return the stream after a block, named `p` in the weights; `index` is None in a head that looks further."""
        x = x + self.mixer(self.norm(x, p + "attention_norm"), p + "attention.", index)
        return x + self.mlp(self.norm(x, p + "mlp_norm"), p + "mlp.")

    def norm(self, x: Tensor, name: str) -> Tensor:
        eps = torch.finfo(torch.float32).eps
        scaled: Tensor = x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * self.w[name + ".weight"]
        return scaled

    def linear(self, x: Tensor, name: str) -> Tensor:
        mapped: Tensor = x @ self.w[name + ".weight"].T
        return mapped

    def turn(self, x: Tensor, position: int) -> Tensor:
        half = len(x) // 2
        angle = position * self.c.rope_base ** (-torch.arange(half, dtype=torch.float64) * 2 / len(x))
        pairs = torch.complex(x[:half], x[half:]) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat((pairs.real, pairs.imag))

    def heads(self, x: Tensor, p: str, index: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (T, H, K), keys and values (T, G, K)."""
        c = self.c
        if c.attention == "latent":
            q, kv = self.linear(x, p + "q"), self.linear(self.linear(x, p + "kv_down"), p + "kv_up")
        else:
            both = self.linear(x, p + "qkv")
            q, kv = torch.split(both, [self.query_width(index), both.shape[1] - self.query_width(index)], dim=1)
        k, v = kv.chunk(2, dim=-1)
        q, k, v = (t.reshape(len(x), -1, c.head_dim) for t in (q, k, v))
        return (self.norm(q, p + "q_norm"), self.norm(k, p + "k_norm"), v) if c.qk_norm else (q, k, v)

    def query_width(self, index: int | None) -> int:
        """Return the width of the queries of all heads that `heads` returns."""
        return self.c.d_model

    def head_number(self, h: int, index: int | None) -> int:
        """Return the number of a head, of those that `heads` returns, among all of the block."""
        return h

    def window(self, index: int | None) -> int:
        """Return the tokens that a block looks back on, its own included."""
        return self.c.window or self.c.context

    def first_seen(self, t: int, index: int | None) -> int:
        """Return the first position that position t looks at."""
        return max(0, t - self.window(index) + 1)

    def mixer(self, x: Tensor, p: str, index: int | None) -> Tensor:
        c = self.c
        q, k, v = self.heads(x, p, index)
        gathered = torch.zeros(*q.shape, dtype=torch.float64)
        for h in range(q.shape[1]):
            g, number = h // (q.shape[1] // k.shape[1]), self.head_number(h, index)
            for t in range(len(x)):
                first = self.first_seen(t, index)
                scores = []
                for s in range(first, t + 1):
                    if c.positions == "rope":
                        score = self.turn(q[t, h], t) @ self.turn(k[s, g], s) / math.sqrt(c.head_dim)
                    else:
                        slope = 2 ** (-8 * (number + 1) / c.n_head)
                        score = q[t, h] @ k[s, g] / math.sqrt(c.head_dim) - slope * (t - s)
                    scores.append(score)
                weights = torch.stack(scores).exp()
                gathered[t, h] = (weights / weights.sum()) @ v[first : t + 1, g]
        return self.linear(gathered.flatten(1), p + "out")

    def mlp(self, x: Tensor, p: str) -> Tensor:
        return self.linear(self.hidden(self.linear(x, p + "up")), p + "down")

    def hidden(self, h: Tensor) -> Tensor:
        if self.c.mlp == "swiglu":
            gate, value = h.chunk(2, dim=-1)
            return gate / (1 + torch.exp(-gate)) * value
        if self.c.mlp == "relu2":
            return h.clamp(min=0) ** 2
        return 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
