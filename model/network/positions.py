"""Where a token stands, for attention: rotary or linear positions, and the masks of sliding windows.

Shapes: B sequences, T tokens, S tokens so far, those T the last of them, H heads, K = head_dim.
"""

import math

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.part import Where
from model.network.shapes import Bool, Float, Int
from model.options.documents import SEPARATOR


class Positions(nn.Module):
    """What blocks' attention shares: the rotations of RoPE, and one mask for each window, whatever the depth."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.cosine: Tensor | None
        self.sine: Tensor | None
        cosine, sine = rotations(config) if config.positions == "rope" else (None, None)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)
        self.within_documents = config.document_mask
        self.windows = sorted({layer.window for layer in (*config.layers, config.further_layer)})
        for window in self.windows:
            self.register_buffer(f"mask_{window}", attention_mask(config, window), persistent=False)

    def forward(self, tokens: Int[Tensor, "B S"], start: int = 0) -> dict[int, Where]:
        """Return by window what attention needs for the tokens from position `start` on, of all those so far."""
        cosine, sine = (None if t is None else t[start : tokens.shape[1]] for t in (self.cosine, self.sine))
        same = same_document(tokens, start) if self.within_documents else None
        return {w: Where(cosine, sine, self._mask(w, start, tokens, same)) for w in self.windows}

    def _mask(self, window: int, start: int, tokens: Tensor, same: Tensor | None) -> Tensor | None:
        mask: Tensor | None = getattr(self, f"mask_{window}")
        end = tokens.shape[1]
        if mask is not None:
            mask = mask[..., start:end, :end]
        elif same is not None or 0 < start < end - 1:  # else attention knows: all before one token, causal from 0 on
            place = torch.arange(end, device=tokens.device)
            mask = place[None, :] <= place[start:, None]
        return mask if same is None or mask is None else mask & same


def same_document(tokens: Int[Tensor, "B S"], start: int) -> Bool[Tensor, "B 1 T S"]:
    """Return which tokens are of one document, those from `start` on against all (Llama 3, arXiv:2407.21783)."""
    document = (tokens == SEPARATOR).cumsum(dim=1)
    return (document[:, start:, None] == document[:, None, :])[:, None]


def rotations(config: ModelConfig) -> tuple[Float[Tensor, "T K"], Float[Tensor, "T K"]]:
    """Return cosine and sine of each position's angles (RoPE, Su et al. 2021, arXiv:2104.09864)."""
    wave = config.rope_base ** (-torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim)
    angle = torch.outer(torch.arange(config.context, dtype=torch.float32), wave).repeat(1, 2)
    return angle.cos(), angle.sin()


def rotate(
    x: Float[Tensor, "B H T K"], cosine: Float[Tensor, "... T K"], sine: Float[Tensor, "... T K"]
) -> Float[Tensor, "B H T K"]:
    """Turn each pair (i, i + K/2) by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    turned = x * cosine + torch.cat((-second, first), dim=-1) * sine
    return turned.to(x.dtype)


def attention_mask(config: ModelConfig, window: int) -> Tensor | None:
    """Return bool (T, T) for a window, float (H, T, T) for ALiBi, None where causality alone rules.

    ALiBi subtracts 2^(−8h/H) of the distance from head h's scores, h from 1 (Press et al. 2021, arXiv:2108.12409).
    """
    if config.positions == "rope" and not 0 < window < config.context:
        return None
    place = torch.arange(config.context)
    distance = place[:, None] - place[None, :]
    seen = (distance >= 0) & (distance < (window or config.context))
    if config.positions == "rope":
        return seen
    slopes = 2.0 ** (-8 * torch.arange(1, config.n_head + 1) / config.n_head)
    return (-slopes[:, None, None] * distance).masked_fill(~seen, -math.inf)
