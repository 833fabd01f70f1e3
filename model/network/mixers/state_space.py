"""A state space with one decay for each head, read in chunks: Mamba-2's state space duality.

Dao & Gu 2024, arXiv:2405.21060. For each head, with state h (N × P), input x and step Δ of each token:

    h_t = exp(Δ_t a) h_{t−1} + b_t (Δ_t x_t)ᵀ        y_t = h_tᵀ c_t

Shapes: B sequences, T tokens of each, H heads, P their width, N = ssm_state; M chunks of Q tokens each.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from model.network.shapes import Float


def state_space(
    inputs: Float[Tensor, "B T H P"],
    log_decay: Float[Tensor, "B T H"],
    b: Float[Tensor, "B T N"],
    c: Float[Tensor, "B T N"],
    state: Float[Tensor, "B N H P"],
    chunk: int,
) -> tuple[Float[Tensor, "B T H P"], Float[Tensor, "B N H P"]]:
    """Return outputs and the last state, of Δ x, of Δ a ≤ 0, and of the state before the first token.

    Within a chunk all pairs of tokens are multiplied, as attention does; what lies before it comes from the state at
    its beginning. Both are products of matrices (the paper's section 6).
    """
    length, size = inputs.shape[1], min(chunk, inputs.shape[1])
    # Tokens appended to fill the last chunk have no input and no decay: they leave the state as it is.
    inputs, log_decay, b, c = (_chunks(t, size) for t in (inputs, log_decay, b, c))
    since_start = log_decay.cumsum(dim=2)  # of the chunk, the token's own included: (B M Q H)
    total = since_start[:, :, -1]
    within = (c @ b.mT)[:, :, None] * decays(since_start.transpose(2, 3))  # pairs (B M H Q Q)
    near = (within @ inputs.transpose(2, 3)).transpose(2, 3)
    to_end = (total[:, :, None] - since_start).exp()
    made = b.mT @ (inputs * to_end[..., None]).flatten(3)  # by each chunk alone
    made = torch.unflatten(made, -1, inputs.shape[3:])
    entering, last = _states(state, made, total)
    far = torch.unflatten(c @ entering.flatten(3), -1, inputs.shape[3:]) * since_start.exp()[..., None]
    return (near + far).flatten(1, 2)[:, :length], last


def decays(log_decay_sum: Float[Tensor, "*batch Q"]) -> Float[Tensor, "*batch Q Q"]:
    """Return what is left at place i of what came in at place j: exp(s_i − s_j), 0 where j > i."""
    difference = log_decay_sum[..., :, None] - log_decay_sum[..., None, :]
    place = torch.arange(difference.shape[-1], device=difference.device)
    return difference.masked_fill(place[None, :] > place[:, None], -math.inf).exp()


def state_space_products(length: int, chunk: int, heads: int, width: int, n_state: int) -> float:
    """Return the multiplications of `state_space` for one of `length` tokens, those that causality masks included."""
    size = min(chunk, length)
    chunks = -(-length // size)
    within, states = size * (n_state + heads * width), 2 * n_state * heads * width
    between = chunks * (chunks + 1) * n_state * heads * width
    return (chunks * size * (within + states) + between) / length


def _chunks(t: Tensor, size: int) -> Tensor:
    """Return (B T …) as (B M Q …), zeros appended."""
    beyond = -t.shape[1] % size
    t = F.pad(t, (*[0, 0] * (t.dim() - 2), 0, beyond)) if beyond else t
    return torch.unflatten(t, 1, (-1, size))


def _states(
    first: Float[Tensor, "B N H P"], made: Float[Tensor, "B M N H P"], total: Float[Tensor, "B M H"]
) -> tuple[Float[Tensor, "B M N H P"], Float[Tensor, "B N H P"]]:
    """Return the states at the beginning of each chunk, and after the last one, which is made without rounding."""
    sources = torch.cat((first[:, None].to(made.dtype), made), dim=1)
    since_start = F.pad(total, (0, 0, 1, 0)).cumsum(dim=1)
    by_head = sources.permute(0, 3, 1, 2, 4)  # (B H M+1 N P)
    entering = decays(since_start.mT)[..., :-1, :] @ by_head.flatten(3)
    entering = torch.unflatten(entering, -1, by_head.shape[3:]).permute(0, 2, 3, 1, 4)
    to_end = (since_start[:, -1:] - since_start).exp()[:, :, None, :, None]
    before = first * to_end[:, 0]
    return entering, before + (made * to_end[:, 1:]).sum(dim=1)
