"""A mixture of depths: a block that takes the tokens it chooses, others pass by (Raposo et al. 2024, arXiv:2404.02258).

Shapes: B sequences, T tokens of each, D = d_model, C of them chosen, S tokens so far.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.blocks.residual import Block, normalised
from model.network.counts import Counts, attended, vectors
from model.network.linears import INITIAL_STD
from model.network.part import PENALTY, Shared, Where
from model.network.rows import moved
from model.network.shapes import Bool, Float, Int
from model.options.layer import Layer

PREDICTOR_WIDTH = 64
"""Hidden width of the predictor."""


class DepthsState(NamedTuple):
    """What the block keeps of the tokens read so far."""

    block: tuple[Any, Any]
    taken: list[Bool[Tensor, "B S"]]
    """Which of them the block took, in a list of one."""


class DepthsBlock(Block):
    """x + r · (what a plain block adds) for the chosen tokens, x for the others; attention is among the chosen.

    r = w · x̂ is the router's weight, x̂ being the stream as the mixer sees it, normalised: ours begins too small for
    weights of the raw one. In training the C tokens of largest r are chosen in each sequence, which no sampling could
    do: whether r is among the largest depends on later tokens. So a predictor learns which tokens are, by a loss that
    reaches nothing else, and decides wherever a network is measured or sampled from. All tokens are then computed, and
    what the others would have added is masked: shapes are static, and the result is that of the chosen alone.
    """

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__(config, layer)
        self.router = nn.Parameter(torch.empty(config.d_model))
        self.predictor_up = nn.Linear(config.d_model, PREDICTOR_WIDTH, bias=False)
        self.predictor = nn.Parameter(torch.empty(PREDICTOR_WIDTH))
        self.predictor_bias = nn.Parameter(torch.empty(1))
        self.chosen_tokens, self.capacity = config.chosen_tokens, config.depth_capacity

    def draw(self, generator: torch.Generator | None) -> None:
        """Draw the router and the predictor, which begins with the share that is wanted."""
        for weights in (self.router, self.predictor):
            nn.init.normal_(weights, std=INITIAL_STD, generator=generator)
        with torch.no_grad():
            self.predictor_bias.fill_(self.capacity).logit_()

    def forward(self, x: Float[Tensor, "B T D"], where: Where, shared: Shared) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return the stream after this block."""
        weight, likely = self._weights(x)
        if not (self.training and torch.is_grad_enabled()):
            taken = likely > 0
            y, shared = super().forward(x, _among(taken, where), shared)
            return x + _weighted(weight * taken, y - x), shared
        count = self.chosen_tokens(x.shape[1])
        chosen = weight.detach().topk(count, dim=1).indices.sort(dim=1).values
        taken = torch.zeros_like(weight).scatter(1, chosen, 1.0)
        sources, targets = places(chosen, x.shape[1])
        selected = moved(x.flatten(0, 1), sources, targets[:, None]).view(len(x), count, -1)
        y, shared = super().forward(selected, _chosen_places(where, chosen), shared)
        added = _weighted(weight.gather(1, chosen), y - selected).flatten(0, 1)
        penalty = F.binary_cross_entropy_with_logits(likely, taken)
        x = x + moved(added, targets, sources[:, None]).view_as(x)
        return x, {**shared, PENALTY: shared[PENALTY] + penalty}

    def initial_state(self, batch: int, length: int, device: torch.device, dtype: torch.dtype) -> DepthsState:
        """Return the state before the first token, with room for `length`."""
        taken = torch.zeros(batch, 0, dtype=torch.bool, device=device)
        return DepthsState(super().initial_state(batch, length, device, dtype), [taken])

    def step(
        self, x: Float[Tensor, "B T D"], state: Any, where: Where, shared: Shared
    ) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return what `forward` does for the tokens that follow those in `state`, and add them to it."""
        weight, likely = self._weights(x)
        taken = likely > 0
        state.taken[0] = torch.cat((state.taken[0], taken), dim=1)
        y, shared = super().step(x, state.block, _among(state.taken[0], where, x.shape[1]), shared)
        return x + _weighted(weight * taken, y - x), shared

    def _weights(self, x: Tensor) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
        """Return the router's weights, and the predictor's logits of being among the largest."""
        with torch.autocast(x.device.type, enabled=False):  # rounded, other tokens would be the largest
            seen = normalised(self.mixer_norm, x)
            hidden = F.silu(self.predictor_up(seen.detach()))
            return (seen * self.router).sum(dim=-1), (hidden * self.predictor).sum(dim=-1) + self.predictor_bias

    @staticmethod
    def counts(config: ModelConfig, layer: Layer) -> Counts:
        """Return parameters and operations: a plain block's for the share of tokens that are chosen, evenly spread.

        Parameters count as idle for the share of tokens that pass by.
        """
        d, context = config.d_model, config.context
        count = config.chosen_tokens(context)
        share, plain = count / context, Block.counts(config, layer)
        reach = attended(count, chosen_window(config, layer))
        products = plain.products + 2 * d * (reach - attended(context, layer.window))
        predictor = d * PREDICTOR_WIDTH
        return Counts.of(
            Counts(plain.parameters, share * products, idle=plain.parameters - round(share * plain.parameters)),
            Counts(predictor, predictor),
            vectors(d + PREDICTOR_WIDTH + 1),
        )


def chosen_window(config: ModelConfig, layer: Layer) -> int:
    """Return how many chosen tokens lie in a block's window, where they are spread evenly; 0: the whole context."""
    return min(layer.window, config.chosen_tokens(layer.window)) if layer.window else 0


def places(chosen: Int[Tensor, "B C"], length: int) -> tuple[Int[Tensor, "M"], Int[Tensor, "N"]]:
    """Return each chosen token's place among all B · T, and each token's place among the chosen, −1 for the others."""
    batch, count = chosen.shape
    sources = (chosen + length * torch.arange(batch, device=chosen.device)[:, None]).flatten()
    targets = torch.full((batch * length,), -1, device=chosen.device)
    return sources, targets.scatter(0, sources, torch.arange(batch * count, device=chosen.device))


def _weighted(weight: Tensor, added: Tensor) -> Tensor:
    return (weight[..., None] * added).to(added.dtype)


def _chosen_places(where: Where, chosen: Int[Tensor, "B C"]) -> Where:
    """Return what attention among the chosen tokens needs: they keep their places and what they may look at."""
    cosine, sine = (None if t is None else t[chosen][:, None] for t in (where.cosine, where.sine))
    if where.mask is None:  # they are in order: causality alone rules among them as well
        return Where(cosine, sine, None)
    (batch, count), length = chosen.shape, where.mask.shape[-1]
    rows = where.mask.expand(batch, 1, length, length).gather(2, chosen[:, None, :, None].expand(-1, 1, -1, length))
    return Where(cosine, sine, rows.gather(3, chosen[:, None, None, :].expand(-1, 1, count, -1)))


def _among(taken: Bool[Tensor, "B S"], where: Where, length: int | None = None) -> Where:
    """Return where tokens are, the last `length` of which look at taken ones alone, and at themselves."""
    place = torch.arange(taken.shape[1], device=taken.device)
    own = place[-length:, None] if length else place[:, None]
    seen = where.mask if where.mask is not None else place[None, :] <= own
    return where._replace(mask=seen & (taken[:, None, None, :] | (place[None, :] == own)))
