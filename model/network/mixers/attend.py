"""softmax(q·k / √K) of values, in the form that is fastest where it runs.

Shapes: B sequences, T tokens of each, S tokens that keys and values are of, H heads, K = head_dim, G heads of keys and
values, W the values' width, mostly K; M segments of Q tokens each.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from model.network.shapes import Float

WRITTEN_OUT = 512
"""Up to so many tokens a CPU's bfloat16 attention is faster written out than in torch's flash kernel: compiled 1.7 to
3.5 times, forward and backward, at 128 to 512 tokens."""


def attend(
    q: Float[Tensor, "B H T K"], k: Float[Tensor, "B G S K"], v: Float[Tensor, "B G S W"], mask: Tensor | None
) -> Float[Tensor, "B H T W"]:
    """Return the values gathered by softmax(q·k / √K); without a mask causal where T = S, and of all where T = 1."""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[2] <= WRITTEN_OUT:
        return written_out(q, k, v, mask)
    if mask is None:
        grouped, causal = k.shape[1] != q.shape[1], 1 < q.shape[2] == k.shape[2]
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=grouped)
    if mask.is_floating_point():
        mask = mask.to(q.dtype)
    if q.device.type == "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=k.shape[1] != q.shape[1])
    return masked(q, k, v, mask)


WIDTH = 8
"""Head widths that torch's fused kernels take beside a mask are multiples of this."""


def masked(
    q: Float[Tensor, "B H T K"], k: Float[Tensor, "B G S K"], v: Float[Tensor, "B G S W"], mask: Tensor
) -> Float[Tensor, "B H T W"]:
    """Return what `attend` does, in a form that a GPU's fused kernels take beside a mask.

    They know neither grouped heads nor odd widths there: torch would hold all B · H · T · S scores instead, in float32.
    So keys and values are repeated, and zeros appended, which change no score.
    """
    group, scale, width = q.shape[1] // k.shape[1], 1 / math.sqrt(q.shape[-1]), v.shape[-1]
    k, v = (t.repeat_interleave(group, dim=1) if group > 1 else t for t in (k, v))
    q, k, v = (F.pad(t, (0, -t.shape[-1] % WIDTH)) if t.shape[-1] % WIDTH else t for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)[..., :width]


def written_out(
    q: Float[Tensor, "B H T K"], k: Float[Tensor, "B G S K"], v: Float[Tensor, "B G S W"], mask: Tensor | None
) -> Float[Tensor, "B H T W"]:
    """Return what `attend` does, from two matrix products and a softmax in float32."""
    heads, length = q.shape[1:3]
    if length == 1:  # the heads of a group as if they were positions: nothing is copied
        q = q.reshape(len(q), k.shape[1], -1, q.shape[-1])
    elif k.shape[1] < heads:
        k, v = (t.repeat_interleave(heads // t.shape[1], dim=1) for t in (k, v))
    scores = (q @ k.transpose(-1, -2)).float().reshape(len(q), heads, length, -1) / math.sqrt(q.shape[-1])
    if mask is None and length > 1:
        place = torch.arange(length, device=q.device)
        mask = place[None, :] <= place[:, None]
    if mask is not None:
        scores = scores + mask if mask.is_floating_point() else scores.masked_fill(~mask, -math.inf)
    weights = scores.softmax(dim=-1).to(v.dtype).reshape(*q.shape[:3], -1)
    return (weights @ v).reshape(len(q), heads, length, -1)


def segments_of(heads: Float[Tensor, "B G T W"], size: int) -> Float[Tensor, "B M G Q W"]:
    """Return heads by segments of `size` tokens, zeros appended to fill the last."""
    beyond = -heads.shape[2] % size
    heads = F.pad(heads, (0, 0, 0, beyond)) if beyond else heads
    return torch.unflatten(heads, 2, (-1, size)).transpose(1, 2)
