"""A network of the menu: its settings, and the same network written out by other means."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from model.config import ModelConfig
from model.network.counts import attended
from model.network.transformer import Transformer
from model.options.documents import SEPARATOR
from tests.model.network.reference import Reference

VOCAB, CONTEXT = 97, 16


def counted_too(config: ModelConfig) -> float:
    """Return the operations of a forward pass that torch counts for a token and we don't: pairs that are masked."""
    layers = [*config.layers, *[config.further_layer] * config.mtp_heads]
    return sum(4 * config.d_model * (config.context - attended(config.context, layer.window)) for layer in layers)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the general checks need of a network."""

    options: dict[str, Any] = field(default_factory=dict)
    """Its settings in `[model]`, beside 2 blocks of 4 heads of width 8 over 16 tokens."""
    reference: type[Reference] = Reference
    """The network in float64, by loops, from the paper."""
    tolerance: float = 1e-4
    """How far logits may lie from float64's, of themselves and of 1."""
    narrow: float = 0.02
    """How far states may lie from those of a narrow stream, of their mean size."""
    counted_too: Callable[[ModelConfig], float] = counted_too

    def config(self, **options: Any) -> ModelConfig:
        """Return the settings, those given counting more than the case's."""
        return ModelConfig(**{"n_layer": 2, "n_head": 4, "head_dim": 8, "context": CONTEXT, **self.options, **options})

    def network(self, seed: int = 0, **options: Any) -> Transformer:
        """Return an untrained network."""
        return Transformer(self.config(**options), VOCAB, torch.Generator().manual_seed(seed)).eval()

    def far_from_linear(self) -> Transformer:
        """Return a network with weights large enough that every nonlinearity matters."""
        net, g = self.network(), torch.Generator().manual_seed(4)
        with torch.no_grad():
            for parameter in net.parameters():
                if parameter.any():
                    parameter.mul_(3 ** (1 / 3) if parameter.ndim == 4 else 3)  # a tensor of three that are multiplied
                else:  # what is zero at first would show nothing
                    parameter.normal_(std=0.1, generator=g)
        return net


def tokens(batch: int = 2, length: int = CONTEXT) -> Tensor:
    """Return made-up tokens, with a document's end in the middle of each sequence."""
    ids = torch.randint(0, VOCAB, (batch, length), generator=torch.Generator().manual_seed(1))
    ids[:, length // 2 - 2] = SEPARATOR
    return ids
