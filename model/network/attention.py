"""Causal self-attention: full, grouped or latent keys and values, rotary or linear positions, a sliding window.

Shapes: B sequences, T tokens of each, D = d_model = H · K, H heads, K = head_dim, G heads of keys and values; S tokens
that keys and values are of: T, or all so far where T more are read.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.shapes import Float


class Positions(nn.Module):
    """What every block's attention shares: the rotations of RoPE, or the mask of ALiBi and of a window."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.cosine: Tensor | None
        self.sine: Tensor | None
        self.mask: Tensor | None
        cosine, sine = rotations(config) if config.positions == "rope" else (None, None)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)
        self.register_buffer("mask", attention_mask(config), persistent=False)

    def forward(self, length: int, start: int = 0) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return cosine, sine and mask of so many positions, the first of them being `start`."""
        end = start + length
        cosine, sine = (None if t is None else t[start:end] for t in (self.cosine, self.sine))
        if self.mask is not None:
            return cosine, sine, self.mask[..., start:end, :end]
        return cosine, sine, self._seen(start, end) if start else None

    def _seen(self, start: int, end: int) -> Tensor:
        """Return a mask of causality alone, which attention knows without one only where it begins at 0."""
        place = torch.arange(end, device=None if self.cosine is None else self.cosine.device)
        return place[None, :] <= place[start:, None]


class KeyValues:
    """Keys and values of the tokens read so far: what attention keeps, so that it reads no token twice."""

    def __init__(self, shape: tuple[int, int, int, int], device: torch.device, dtype: torch.dtype) -> None:
        """Make room for keys and values of (B G S K)."""
        self.keys, self.values = (torch.empty(shape, device=device, dtype=dtype) for _ in range(2))
        self.length = 0

    def append(self, keys: Float[Tensor, "B G T K"], values: Float[Tensor, "B G T K"]) -> tuple[Tensor, Tensor]:
        """Store those of the next tokens; return all so far, each (B G S K)."""
        end = self.length + keys.shape[2]
        for stored, new in ((self.keys, keys), (self.values, values)):
            stored[:, :, self.length : end] = new
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class Attention(nn.Module):
    """What each position gathers from itself and those before it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_head, self.kv_heads, self.head_dim = config.n_head, config.kv_heads, config.head_dim
        self.latent = config.attention == "latent"
        width, kv_width = config.d_model, 2 * config.kv_heads * config.head_dim
        if self.latent:
            self.q = nn.Linear(width, width, bias=False)
            self.kv_down = nn.Linear(width, config.projection_dim, bias=False)
            self.kv_up = nn.Linear(config.projection_dim, kv_width, bias=False)
        else:
            self.qkv = nn.Linear(width, width + kv_width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.qk_norm = config.qk_norm
        if config.qk_norm:
            self.q_norm, self.k_norm = nn.RMSNorm(config.head_dim), nn.RMSNorm(config.head_dim)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        cosine: Float[Tensor, "T K"] | None,
        sine: Float[Tensor, "T K"] | None,
        mask: Tensor | None,
    ) -> Float[Tensor, "B T D"]:
        """Return the gathered values; `mask` is added to the scores, or says which pairs to keep."""
        q, k, v = self._heads(x, cosine, sine)
        return self._gathered(q, k, v, mask)

    def initial_state(self, batch: int, length: int, device: torch.device, dtype: torch.dtype) -> KeyValues:
        """Return the state before the first token, with room for `length`; `dtype` is that of matrix products."""
        return KeyValues((batch, self.kv_heads, length, self.head_dim), device, dtype)

    def step(
        self,
        x: Float[Tensor, "B T D"],
        state: KeyValues,
        cosine: Float[Tensor, "T K"] | None,
        sine: Float[Tensor, "T K"] | None,
        mask: Tensor | None,
    ) -> Float[Tensor, "B T D"]:
        """Return what `forward` does for the tokens that follow those in `state`, and add them to it."""
        q, k, v = self._heads(x, cosine, sine)
        return self._gathered(q, *state.append(k, v), mask)

    def _gathered(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        return cast(Tensor, self.out(attend(q, k, v, mask).transpose(1, 2).flatten(2)))

    def _heads(self, x: Tensor, cosine: Tensor | None, sine: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B H T K), keys and values (B G T K), normalised and turned."""
        together = torch.cat((self.q(x), self.kv_up(self.kv_down(x))), dim=-1) if self.latent else self.qkv(x)
        heads = torch.unflatten(together, -1, (-1, self.head_dim)).transpose(1, 2)
        q, k, v = torch.split(heads, [self.n_head, self.kv_heads, self.kv_heads], dim=1)
        if self.qk_norm:  # in float32, as the blocks' norms are
            q, k = self.q_norm(q.float()).to(q.dtype), self.k_norm(k.float()).to(k.dtype)
        if cosine is not None and sine is not None:
            q, k = rotate(q, cosine, sine), rotate(k, cosine, sine)
        return q, k, v


WRITTEN_OUT = 512
"""Up to so many tokens a CPU's bfloat16 attention is faster written out than in torch's flash kernel: compiled 1.7 to
3.5 times, forward and backward, at 128 to 512 tokens."""


def attend(
    q: Float[Tensor, "B H T K"], k: Float[Tensor, "B G S K"], v: Float[Tensor, "B G S K"], mask: Tensor | None
) -> Float[Tensor, "B H T K"]:
    """Return the values gathered by softmax(q·k / √K), causal where there is no mask."""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[2] <= WRITTEN_OUT:
        return written_out(q, k, v, mask)
    if mask is None:
        grouped = k.shape[1] != q.shape[1]
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
    if mask.is_floating_point():
        mask = mask.to(q.dtype)
    if q.device.type == "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=k.shape[1] != q.shape[1])
    return masked(q, k, v, mask)


WIDTH = 8
"""Head widths that torch's fused kernels take beside a mask are multiples of this."""


def masked(
    q: Float[Tensor, "B H T K"], k: Float[Tensor, "B G S K"], v: Float[Tensor, "B G S K"], mask: Tensor
) -> Float[Tensor, "B H T K"]:
    """Return what `attend` does, in a form that a GPU's fused kernels take beside a mask.

    They know neither grouped heads nor odd widths there: torch would hold all B · H · T · S scores instead, in float32.
    So keys and values are repeated, and zeros appended, which change no score.
    """
    group, width = q.shape[1] // k.shape[1], q.shape[-1]
    k, v = (t.repeat_interleave(group, dim=1) if group > 1 else t for t in (k, v))
    q, k, v = (F.pad(t, (0, -width % WIDTH)) if width % WIDTH else t for t in (q, k, v))
    gathered = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1 / math.sqrt(width))
    return gathered[..., :width]


def written_out(
    q: Float[Tensor, "B H T K"], k: Float[Tensor, "B G S K"], v: Float[Tensor, "B G S K"], mask: Tensor | None
) -> Float[Tensor, "B H T K"]:
    """Return what `attend` does, from two matrix products and a softmax in float32."""
    group = q.shape[1] // k.shape[1]
    if group > 1:
        k, v = (t.repeat_interleave(group, dim=1) for t in (k, v))
    scores = (q @ k.transpose(-1, -2)).float() / math.sqrt(q.shape[-1])
    if mask is None:
        place = torch.arange(q.shape[2], device=q.device)
        mask = place[None, :] <= place[:, None]
    scores = scores + mask if mask.is_floating_point() else scores.masked_fill(~mask, -math.inf)
    return scores.softmax(dim=-1).to(v.dtype) @ v


def rotations(config: ModelConfig) -> tuple[Float[Tensor, "T K"], Float[Tensor, "T K"]]:
    """Return cosine and sine of each position's angles (RoPE, Su et al. 2021, arXiv:2104.09864)."""
    wave = config.rope_base ** (-torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim)
    angle = torch.outer(torch.arange(config.context, dtype=torch.float32), wave).repeat(1, 2)
    return angle.cos(), angle.sin()


def rotate(
    x: Float[Tensor, "B H T K"], cosine: Float[Tensor, "T K"], sine: Float[Tensor, "T K"]
) -> Float[Tensor, "B H T K"]:
    """Turn each pair (i, i + K/2) by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    turned = x * cosine + torch.cat((-second, first), dim=-1) * sine
    return turned.to(x.dtype)


def attention_mask(config: ModelConfig) -> Tensor | None:
    """Return bool (T, T) for a window, float (H, T, T) for ALiBi, None where causality alone rules.

    ALiBi subtracts 2^(−8h/H) of the distance from head h's scores, h from 1 (Press et al. 2021, arXiv:2108.12409).
    """
    if config.positions == "rope" and not 0 < config.window < config.context:
        return None
    place = torch.arange(config.context)
    distance = place[:, None] - place[None, :]
    seen = (distance >= 0) & (distance < (config.window or config.context))
    if config.positions == "rope":
        return seen
    slopes = 2.0 ** (-8 * torch.arange(1, config.n_head + 1) / config.n_head)
    return (-slopes[:, None, None] * distance).masked_fill(~seen, -math.inf)
