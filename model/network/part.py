"""A part of a block: what every mixer, MLP and block has in common.

Shapes: B sequences, T tokens of each, D = d_model, S tokens read so far.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.counts import Counts
from model.network.shapes import Float
from model.options.layer import Layer

Shared = dict[str, Tensor]
"""Tensors that a part hands on to parts after it, by name; handed on as a new dictionary, never changed in place."""


EMBEDDING = "embedding"
"""Name under which the stream before the first block is handed on, where a block wants it."""
PENALTY = "penalty"
"""Name under which what blocks add to the loss is handed on and added to, where the settings are `penalised`."""


class Where(NamedTuple):
    """What attention is told of the positions of T tokens that follow S − T others."""

    cosine: Tensor | None
    """RoPE's cosines (T, K), or (B, 1, T, K) where tokens of one place differ; None without RoPE."""
    sine: Tensor | None
    mask: Tensor | None
    """What is added to scores (…, T, S), or which pairs are kept; None where causality alone rules and S = T."""


@runtime_checkable
class Drawn(Protocol):
    """A module that draws the initial values of its own parameters, not of those of modules inside it."""

    def draw(self, generator: torch.Generator | None) -> None:
        """Draw them from the generator, and from nowhere else."""


@runtime_checkable
class Compact(Protocol):
    """A module that is stored in another form than the one it learns in, and works from that form once it is loaded."""

    def packed_form(self) -> dict[str, Tensor]:
        """Return what is stored of its own parameters, by name."""

    def expect_packed(self) -> None:
        """Become one of that form, before its tensors are read."""


class Part(nn.Module):
    """A map of the stream that is built of the network's settings and its block's layer.

    A subclass has `forward` and `counts`. One that looks at other tokens has `initial_state` and `step` as well: how
    it reads token by token what `forward` reads at once.
    """

    name: str
    """Name of a mixer among the parts of its block, and so in the names of its weights in every file."""

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__()

    def forward(self, x: Float[Tensor, "B T D"], where: Where, shared: Shared) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return the map of the stream, and what is handed on."""
        raise NotImplementedError

    def initial_state(self, batch: int, length: int, device: torch.device, dtype: torch.dtype) -> Any:
        """Return the state before the first token, with room for `length`; `dtype` is that of matrix products."""
        return None

    def step(
        self, x: Float[Tensor, "B T D"], state: Any, where: Where, shared: Shared
    ) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return what `forward` does for the tokens that follow those in `state`, and add them to it."""
        result: tuple[Tensor, Shared] = self(x, where, shared)
        return result

    @staticmethod
    def counts(config: ModelConfig, layer: Layer) -> Counts:
        """Return parameters and operations by closed form."""
        raise NotImplementedError
