"""Cross-entropy of a linear layer without holding more than a bounded number of logits.

Logits of 32,768 tokens over 12,288 pieces are 1.6 GB in float32, several times over in a plain backward pass. Where
there are so many, a few rows at a time give their loss and their gradients at once (as in Liger Kernel,
arXiv:2410.10989); where there are few, torch's own cross-entropy is faster.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.network.device import maybe_compiled
from model.network.part import PENALTY
from model.network.shapes import Float, Int
from model.network.transformer import Transformer, softcap

LOGITS_AT_ONCE = {"cpu": 2**22, "cuda": 2**25}
"""Logits held at a time: what stays in the cache. On a CPU 2²² was best of 2²⁰ … 2²⁵; 2²⁵ are 64 MB in bfloat16, about
what an RTX 4090 caches (not yet measured there: 2²⁴ … 2²⁷ are to be tried)."""


def chunk_loss(
    x: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    targets: Int[Tensor, "N"],
    scale: Float[Tensor, "N"],
    cap: float,
    z_weight: float = 0.0,
) -> tuple[Tensor, Tensor | None, Float[Tensor, "N D"], Float[Tensor, "V D"]]:
    """Return Σ scale · (nats + z_weight · log² Z), its second part where there is one, and its gradients."""
    logits = softcap((x @ weight.T).float(), cap)
    log_sum = logits.logsumexp(dim=-1)
    nats = log_sum - logits.gather(1, targets[:, None])[:, 0]
    gradient = (logits - log_sum[:, None]).exp()
    penalty = None
    if z_weight:
        penalty = (z_weight * log_sum.square() * scale).sum()
        gradient = gradient * (1 + 2 * z_weight * log_sum[:, None])
    if torch.compiler.is_compiling():  # one pass over the logits instead of a second one that scatters
        hit = torch.arange(len(weight), device=x.device) == targets[:, None]
        gradient = torch.where(hit, gradient - 1, gradient)
    else:
        gradient[torch.arange(len(x), device=x.device), targets] -= 1
    if cap:
        gradient = gradient * (1 - (logits / cap).square())
    gradient = (gradient * scale[:, None]).to(x.dtype)
    loss = (nats * scale).sum()
    return loss if penalty is None else loss + penalty, penalty, gradient @ weight, gradient.T @ x


class _LinearCrossEntropy(torch.autograd.Function):
    """What `chunk_loss` returns, of all chunks; gradients are made in the forward pass, while the logits are there."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor | None]:
        x, weight, targets, scale, cap, z_weight, compiled, rows = inputs
        dtype = x.dtype
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
        chunk = maybe_compiled(chunk_loss, compiled)
        narrow, total = weight.to(dtype), torch.zeros((), device=x.device)
        total_penalty = torch.zeros((), device=x.device) if z_weight else None
        by_x, by_weight = torch.empty_like(x), torch.zeros_like(weight)
        with torch.autocast(x.device.type, enabled=False):
            for i in range(0, len(x), rows):
                part = slice(i, i + rows)
                loss, penalty, gx, gw = chunk(x[part].to(dtype), narrow, targets[part], scale[part], cap, z_weight)
                total += loss
                if total_penalty is not None:
                    total_penalty += penalty
                by_x[part] = gx
                by_weight += gw
        ctx.save_for_backward(by_x, by_weight)
        if total_penalty is not None:
            ctx.mark_non_differentiable(total_penalty)
        return total, total_penalty

    @staticmethod
    def backward(ctx: Any, by_total: Tensor, by_penalty: Tensor | None) -> Any:
        by_x, by_weight = ctx.saved_tensors
        return by_x * by_total, by_weight * by_total, None, None, None, None, None, None


def linear_cross_entropy(
    x: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    targets: Int[Tensor, "N"],
    scale: Float[Tensor, "N"],
    cap: float = 0.0,
    compiled: bool = False,
    z_weight: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return Σ scale · (nats + z_weight · log² Z), and Σ scale · nats for the record.

    Nats are the cross-entropy of softcap(x @ weight.T), and Z the sum of those logits' exponentials: the z-loss of
    PaLM, which keeps it near 1 (Chowdhery et al. 2022, arXiv:2204.02311, section 5).
    """
    rows = max(1, LOGITS_AT_ONCE.get(x.device.type, 2**22) // len(weight))
    if len(x) <= rows:
        total, penalty = maybe_compiled(_at_once, compiled)(x, weight, targets, scale, cap, z_weight)
    else:
        inputs = (x, weight, targets, scale, cap, z_weight, compiled, largest_divisor(len(x), rows))
        total, penalty = _LinearCrossEntropy.apply(*inputs)  # type: ignore[no-untyped-call]
    return total, (total if penalty is None else total - penalty).detach()


def _at_once(
    x: Tensor, weight: Tensor, targets: Tensor, scale: Tensor, cap: float, z_weight: float
) -> tuple[Tensor, Tensor | None]:
    logits = softcap(F.linear(x, weight).float(), cap)
    loss = F.cross_entropy(logits, targets, reduction="none") @ scale
    penalty = z_weight * logits.logsumexp(dim=-1).square() @ scale if z_weight else None
    return loss if penalty is None else loss + penalty, penalty


def largest_divisor(number: int, most: int) -> int:
    """Return the largest divisor of a number that is at most `most`: parts of one shape are compiled once."""
    return max(d for d in range(1, min(number, most) + 1) if number % d == 0)


def batch_loss(
    network: Transformer,
    rows: Int[Tensor, "B T1"],
    mtp_weight: float = 0.0,
    compiled: bool = False,
    z_weight: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return the loss to learn from and, for the record, the mean nats of each row's next tokens.

    The loss is those nats with the further heads' mean added at `mtp_weight`, the z-loss of each at `z_weight`, and
    what blocks add by themselves.
    Rows hold one token more than the context. A head i places further on has no target in a row's last i places.
    """
    heads = network.config.mtp_heads if mtp_weight else 0
    inputs, targets = rows[:, :-1], rows[:, 1:]
    parts = []
    all_states, handed_on = network.outputs(inputs, heads, compiled=compiled)
    for i, states in enumerate(all_states):
        there = targets.shape[1] - i
        ahead = F.pad(targets[:, i:], (0, i))
        share = (mtp_weight / heads if i else 1.0) / (len(rows) * there)
        scale = (torch.arange(targets.shape[1], device=rows.device) < there) * share
        part = linear_cross_entropy(
            states.flatten(0, 1),
            network.output_weight,
            ahead.flatten(),
            scale.float().expand(len(rows), -1).flatten(),
            network.config.logit_softcap,
            compiled,
            z_weight,
        )
        parts.append(part)
    loss = torch.stack([loss for loss, _ in parts]).sum()
    return loss + handed_on[PENALTY] if PENALTY in handed_on else loss, parts[0][1]
