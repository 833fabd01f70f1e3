"""Training with linear layers in float8: which devices have it, which networks, and the switch."""

import torch

from model.errors import SettingsError
from model.network.linears.dense import Dense
from model.network.linears.float8 import MULTIPLE, float8_linear
from model.network.transformer import Transformer

LEAST_CAPABILITY = (8, 9)
"""Compute capability of the first GPUs with products in float8: Ada, then Hopper and Blackwell."""
NEWER = "RTX 40, L4, L40S, H100 and newer"
"""Examples of them."""


def missing_float8(device: torch.device) -> str:
    """Return why this device can't multiply in float8, as part of a sentence; empty if it can."""
    if device.type != "cuda":
        return f"only GPUs multiply in it, and the device is {device}"
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        return f"{device} has compute capability {capability[0]}.{capability[1]}, and float8 begins with 8.9"
    return ""


def require_float8(device: torch.device) -> None:
    """Raise `SettingsError` if this device can't multiply in float8."""
    if missing := missing_float8(device):
        raise SettingsError(
            f'`precision` is "float8", but {missing} ({NEWER}); set precision = "auto", or train on such a GPU'
        )


def use_float8(network: Transformer) -> None:
    """Have the dense linear layers inside blocks multiply in float8 while they learn; all else stays as it is.

    Embedding, logits, attention's own products, routers and stacks (experts, tracks) stay in bfloat16. Raises
    `SettingsError` where a layer's width is no multiple of 16, and where no layer is dense.
    """
    layers = {name: m for name, m in network.named_modules() if isinstance(m, Dense)}
    if not layers:
        raise SettingsError(
            '`precision` is "float8", but must be "auto" in a network without dense linear layers inside its blocks: '
            "nothing in it would be multiplied in float8"
        )
    for name, layer in layers.items():
        if layer.in_features % MULTIPLE or layer.out_features % MULTIPLE:
            raise SettingsError(
                f'`precision` is "float8", but must be "auto" where widths are no multiples of {MULTIPLE}: {name} maps '
                f"{layer.in_features} to {layer.out_features}; choose others of n_head, head_dim and projection_dim"
            )
    for layer in layers.values():
        layer.product = float8_linear
