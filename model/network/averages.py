"""Weighted averages of networks of one shape: one network, in which every weight is the mean of theirs.

Legend: N networks, G groups of consecutive blocks, each with weights of its own for the N networks.
"""

from collections.abc import Sequence

import numpy as np
import torch

from model.network.shapes import Float
from model.network.transformer import Transformer


def why_not_averaged(network: Transformer) -> str:
    """Return why a network's weights have no meaningful average; empty if they have one."""
    levels = [name for name, tensor in network.state_dict().items() if not tensor.is_floating_point()]
    if not levels:
        return ""
    return (
        f"its weights are stored as a few levels (linear = {network.config.linear!r}; {levels[0]} is one of "
        f"{len(levels)} such tensors), and an average of levels is none of them"
    )


def group_of(name: str, n_layer: int, groups: int) -> int:
    """Return the group of a tensor of this name: blocks are divided evenly, what comes before and after goes with them.

    The embedding, also where it is the head as well, belongs to the first group; the last norm, an untied head and
    heads that look further on belong to the last.
    """
    part, _, rest = name.partition(".")
    if part == "blocks":
        return int(rest.partition(".")[0]) * groups // n_layer
    return 0 if part.startswith("embedding") else groups - 1


@torch.no_grad()
def average_into(target: Transformer, networks: Sequence[Transformer], weights: Float[np.ndarray, "G N"]) -> None:
    """Make every tensor of `target` Σ wᵢ · tensorᵢ over the networks, w being its group's weights, which sum to 1.

    Sums are in float64; a network of weight 0 is left out, so that one of weight 1 comes out as it is. Buffers that no
    file holds, such as positions, are functions of the settings and stay. Raises `ValueError` if weights don't fit.
    """
    groups, n = weights.shape
    if n != len(networks) or not np.allclose(weights.sum(axis=1), 1) or not (weights >= 0).all():
        raise ValueError(f"weights of {len(networks)} networks must be >= 0 and sum to 1 in each group: {weights}")
    states = [network.state_dict() for network in networks]
    for name, tensor in target.state_dict().items():
        row = weights[group_of(name, target.config.n_layer, groups)]
        mean = torch.zeros_like(tensor, dtype=torch.float64)
        for weight, state in zip(row.tolist(), states, strict=True):
            if weight:
                mean.add_(state[name], alpha=weight)
        tensor.copy_(mean)
