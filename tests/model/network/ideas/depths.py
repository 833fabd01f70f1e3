"""A mixture of depths: every second block takes the tokens that its predictor names, as the paper samples."""

import torch
from torch import Tensor

from model.config import ModelConfig
from model.network.blocks.depths import chosen_window
from model.network.counts import attended
from tests.model.network.case import Case, counted_too
from tests.model.network.reference import Reference


class Depths(Reference):
    def chooses(self, index: int | None) -> bool:
        return index is not None and (index + 1) % self.c.depth_every == 0

    def taken(self, seen: Tensor, p: str) -> list[int]:
        """Return the tokens that a block takes, of the normalised stream."""
        hidden = seen @ self.w[p + "predictor_up.weight"].T
        logits = (hidden / (1 + torch.exp(-hidden))) @ self.w[p + "predictor"] + self.w[p + "predictor_bias"]
        return [t for t in range(len(seen)) if logits[t] > 0]

    def block(self, x: Tensor, p: str, index: int | None) -> Tensor:
        if not self.chooses(index):
            self.places = list(range(len(x)))
            return super().block(x, p, index)
        seen = self.norm(x, p + "attention_norm")
        self.places, y = self.taken(seen, p), x.clone()
        if self.places:
            chosen = x[self.places]
            for t, before, after in zip(self.places, chosen, super().block(chosen, p, index), strict=True):
                y[t] = before + (self.w[p + "router"] @ seen[t]) * (after - before)
        return y

    def turn(self, x: Tensor, position: int) -> Tensor:
        return super().turn(x, self.places[position])

    def first_seen(self, t: int, index: int | None) -> int:
        first = super().first_seen(self.places[t], index)
        return min(i for i, place in enumerate(self.places) if place >= first)


def counted_among_chosen(config: ModelConfig) -> float:
    """Return what torch counts beside: pairs that are masked, in blocks that choose among the chosen tokens alone."""
    extra = counted_too(config)
    for layer in config.layers:
        if layer.block == "depths":
            count, d = config.chosen_tokens(config.context), config.d_model
            extra -= 4 * d * (config.context - attended(config.context, layer.window))
            extra += 4 * d * (count - attended(count, chosen_window(config, layer))) * count / config.context
    return extra


CASES = {
    "every second block takes half": Case(
        options={"depth_capacity": 0.5}, reference=Depths, counted_too=counted_among_chosen
    ),
    "every third takes a quarter, in a window, grouped, a further head": Case(
        options={
            "depth_capacity": 0.25,
            "depth_every": 3,
            "n_layer": 4,
            "window": 6,
            "attention": "grouped",
            "n_kv_head": 2,
            "mtp_heads": 1,
        },
        reference=Depths,
        counted_too=counted_among_chosen,
    ),
}
