"""Linear layers inside blocks: each kind is a file here and a line of `LINEARS`."""

import math

from torch import nn

from model.config import ModelConfig
from model.network.counts import Counts
from model.network.linears.dense import Dense
from model.network.linears.quantised import Ternary, TwoBit
from model.network.linears.ring import Ring

INITIAL_STD = 0.02
LINEARS: dict[str, type[Dense] | type[Ring] | type[Ternary]] = {
    "dense": Dense,
    "ring": Ring,
    "ternary": Ternary,
    "two_bit": TwoBit,
}
"""Linear layers by the name that `ModelConfig.linear_kind` gives."""
BACK = ("attention.out", "mamba.out", "megalodon.through", "megalodon.out", "mlp.down")
"""Places of layers that write back into the residual stream: 1/√(2 · n_layer) as large at first (GPT-2), or zero."""


def linear(config: ModelConfig, place: str, n_in: int, n_out: int) -> nn.Module:
    """Return a layer from one width to another; `place` is where it stands in a block, such as "mlp.up"."""
    return LINEARS[config.linear_kind(place)](config, n_in, n_out, initial_std(config, place))


def initial_std(config: ModelConfig, place: str) -> float:
    """Return the standard deviation of a layer's initial weights."""
    if place not in BACK:
        return INITIAL_STD
    return 0.0 if config.zero_init else INITIAL_STD / math.sqrt(2 * config.n_layer)


def linear_counts(config: ModelConfig, place: str, n_in: int, n_out: int) -> Counts:
    """Return parameters and operations of such a layer by closed form."""
    return LINEARS[config.linear_kind(place)].counts(config, n_in, n_out)
