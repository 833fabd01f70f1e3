"""Two plain trainers to measure ours against, written from stock parts in the manner of public ones.

`Plain` is in nanoGPT's manner: LayerNorm, learned positions, GELU, tied embeddings, logits all at once, AdamW fused on
a GPU, bfloat16 autocast on a GPU and float32 on a CPU, random crops of a memory map. `Original` is in the manner of
the search that this project replaces: `nn.TransformerEncoder`, eager, AdamW as it comes, sequences in the corpus's
order, the loss read back at every step.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig


@dataclass(frozen=True)
class Shape:
    """What is trained: a network and its batch."""

    name: str
    config: ModelConfig
    vocab_size: int
    batch_size: int

    @property
    def tokens(self) -> int:
        """Tokens per optimizer step."""
        return self.batch_size * self.config.context


class PlainBlock(nn.Module):
    """Attention and MLP, each after a LayerNorm."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        d = c.d_model
        self.ln_1, self.ln_2 = nn.LayerNorm(d, bias=False), nn.LayerNorm(d, bias=False)
        self.c_attn, self.c_proj = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.c_fc, self.c_out = nn.Linear(d, 4 * d, bias=False), nn.Linear(4 * d, d, bias=False)
        self.n_head = c.n_head

    def forward(self, x: Tensor) -> Tensor:
        """Return the stream after this block."""
        b, t, d = x.shape
        q, k, v = (
            z.view(b, t, self.n_head, d // self.n_head).transpose(1, 2) for z in self.c_attn(self.ln_1(x)).chunk(3, -1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(b, t, d))
        return cast(Tensor, x + self.c_out(F.gelu(self.c_fc(self.ln_2(x)))))


class PlainGPT(nn.Module):
    """A small GPT."""

    def __init__(self, c: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab_size, c.d_model), nn.Embedding(c.context, c.d_model)
        self.blocks = nn.ModuleList(PlainBlock(c) for _ in range(c.n_layer))
        self.ln_f = nn.LayerNorm(c.d_model, bias=False)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                back = name.endswith(("c_proj.weight", "c_out.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * c.n_layer) if back else 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits."""
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)


class OriginalLM(nn.Module):
    """A language model from torch's own encoder layers."""

    def __init__(self, c: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(vocab_size, c.d_model), nn.Embedding(c.context, c.d_model)
        layer = nn.TransformerEncoderLayer(
            c.d_model, c.n_head, 4 * c.d_model, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, c.n_layer, enable_nested_tensor=False)
        self.head = nn.Linear(c.d_model, vocab_size, bias=False)
        self.head.weight = self.embedding.weight
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits."""
        t = ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(t, device=ids.device)
        x = self.embedding(ids) + self.position(torch.arange(t, device=ids.device))
        return cast(Tensor, self.head(self.layers(x, mask=mask, is_causal=True)))


def _step(
    forward: Callable[[Tensor], Tensor],
    parameters: list[Tensor],
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    bfloat16: bool,
) -> Tensor:
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=bfloat16):
        logits = forward(x)
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), y.reshape(-1))
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss


class Plain:
    """The loop in nanoGPT's manner; calling it makes a step at a learning rate."""

    def __init__(
        self,
        shape: Shape,
        ids: np.ndarray,
        device: torch.device,
        *,
        compiled: bool,
        bfloat16: bool = False,
        seed: int = 0,
    ) -> None:
        torch.manual_seed(seed)
        self.bfloat16 = bfloat16 or device.type == "cuda"
        self.shape, self.ids, self.device = shape, ids, device
        self.network = PlainGPT(shape.config, shape.vocab_size).to(device)
        self.parameters: list[Tensor] = list(self.network.parameters())
        self.forward: Callable[[Tensor], Tensor] = torch.compile(self.network) if compiled else self.network
        groups = [
            {"params": [p for p in self.parameters if p.ndim >= 2], "weight_decay": 0.1},
            {"params": [p for p in self.parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95), fused=device.type == "cuda")

    def _batch(self) -> tuple[Tensor, Tensor]:
        t = self.shape.config.context
        places = torch.randint(len(self.ids) - t - 1, (self.shape.batch_size,))
        rows = torch.stack([torch.from_numpy(self.ids[i : i + t + 1].astype(np.int64)) for i in places])
        x, y = rows[:, :-1], rows[:, 1:]
        if self.device.type == "cuda":
            return tuple(z.pin_memory().to(self.device, non_blocking=True) for z in (x, y))  # type: ignore[return-value]
        return x, y

    def __call__(self, rate: float) -> None:
        """Make a step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        _step(self.forward, self.parameters, self.optimizer, *self._batch(), self.bfloat16)


class Original:
    """The loop in the original's manner."""

    def __init__(self, shape: Shape, ids: np.ndarray, device: torch.device) -> None:
        self.device, self.batches = device, self._batches(shape, ids)
        self.network = OriginalLM(shape.config, shape.vocab_size).to(device)
        self.parameters: list[Tensor] = list(self.network.parameters())
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=3e-3)

    @staticmethod
    def _batches(shape: Shape, ids: np.ndarray) -> Iterator[Tensor]:
        size = shape.batch_size * shape.config.context + 1
        while True:
            for i in range(0, len(ids) - size, size):
                yield torch.from_numpy(ids[i : i + size].astype(np.int64))

    def __call__(self, rate: float) -> None:
        """Make a step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        stream = next(self.batches).to(self.device)
        t = self.network.position.num_embeddings
        x, y = stream[:-1].view(-1, t), stream[1:].view(-1, t)
        _step(self.network, self.parameters, self.optimizer, x, y, self.device.type == "cuda").item()
