"""A mixture of experts: a router chooses a few small MLPs for each token (DeepSeek-V3, arXiv:2412.19437, 2.1.2).

Shapes: B sequences, T tokens of each, D = d_model, E experts, K of them for a token, N = B · T tokens, S slots: the
experts' room for all sequences, an expert's beside one another.
"""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.counts import Counts, vectors
from model.network.linears import initial_std, linear, linear_counts
from model.network.linears.stack import Stack
from model.network.mlps.dense import DENSE
from model.network.part import PENALTY, Part, Shared, Where
from model.network.rows import moved
from model.network.shapes import Float, Int
from model.options.layer import Layer


class Routes(NamedTuple):
    """Where tokens go."""

    gates: Float[Tensor, "N K"]
    """Weight of each chosen expert's output."""
    slots: Int[Tensor, "N K"]
    """Slot of each choice; −1 where the expert has no room left: the token is dropped there."""
    choices: Int[Tensor, "S"]
    """Choice n · K + i of token n that a slot holds; −1 for an empty one."""


class Experts(Part):
    """Σ gate · expert(x) over the chosen experts, and the shared experts' output beside it.

    The router's scores are sigmoids; the K largest of score + bias are chosen, and their scores, scaled to a sum of 1,
    are the gates. With K = 1 the gate is the score itself, for the router would get no gradient from a constant.

    Shapes are static: each expert has room for `expert_room` tokens of a sequence, the first that choose it. So no
    token's output depends on a later one or on another sequence, and reading token by token drops the same ones.
    """

    bias: nn.Parameter
    """What is added to scores (E,) for the choice alone; moved by `model.training.balancing`, never by a gradient."""
    load: Tensor
    """Choices of each expert (E,) in training since they were last zeroed."""
    tally: Tensor
    """Choices in training since they were last taken, and those of them that found no room (2,)."""

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__(config, layer)
        dense, d, width = DENSE[config.mlp], config.d_model, config.expert_width
        self.number, self.chosen, self.room = config.experts, config.experts_per_token, config.expert_room
        self.balance_loss, self.hidden = config.expert_balance_loss, dense.hidden
        self.router = nn.Linear(d, config.experts, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.experts), requires_grad=False)
        self.up = Stack(config.experts, d, dense.ups * width, initial_std(config, "mlp.up"))
        self.down = Stack(config.experts, width, d, initial_std(config, "mlp.down"))
        shared = config.shared_experts * width
        self.shared_up = linear(config, "mlp.up", d, dense.ups * shared) if shared else None
        self.shared_down = linear(config, "mlp.down", shared, d) if shared else None
        self.register_buffer("load", torch.zeros(config.experts, dtype=torch.int64), persistent=False)
        self.register_buffer("tally", torch.zeros(2, dtype=torch.int64), persistent=False)

    def forward(self, x: Float[Tensor, "B T D"], where: Where, shared: Shared) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return the map of each position."""
        scores, chosen, load = self._chosen(x)
        routes = self._routes(scores, chosen, load, torch.zeros_like(load[:, 0]))
        if torch.is_grad_enabled():  # in training alone, not where a network is measured
            self.load.add_(load.sum(dim=(0, 1)))
            self.tally.add_(torch.stack([load.sum(), (routes.slots < 0).sum()]))
            if self.balance_loss:
                shared = {**shared, PENALTY: shared[PENALTY] + self.balance_loss * unevenness(scores, load)}
        return self._mapped(x, routes), shared

    def initial_state(
        self, batch: int, length: int, device: torch.device, dtype: torch.dtype
    ) -> list[Int[Tensor, "B E"]]:
        """Return how many tokens have chosen each expert so far: what decides whether there is room."""
        return [torch.zeros(batch, self.number, dtype=torch.int64, device=device)]

    def step(
        self, x: Float[Tensor, "B T D"], state: Any, where: Where, shared: Shared
    ) -> tuple[Float[Tensor, "B T D"], Shared]:
        """Return what `forward` does for the tokens that follow those in `state`, and add them to it."""
        scores, chosen, load = self._chosen(x)
        routes = self._routes(scores, chosen, load, state[0])
        state[0] = state[0] + load.sum(dim=1)
        return self._mapped(x, routes), shared

    def _chosen(self, x: Tensor) -> tuple[Float[Tensor, "B T E"], Int[Tensor, "B T K"], Int[Tensor, "B T E"]]:
        """Return the router's scores, the chosen experts, and the same as ones among zeros."""
        with torch.autocast(x.device.type, enabled=False):  # rounded scores would make other choices
            scores = torch.sigmoid(self.router(x.float()))
        chosen = (scores.detach() + self.bias).topk(self.chosen, dim=-1).indices
        return scores, chosen, torch.zeros_like(scores, dtype=torch.int64).scatter(-1, chosen, 1)

    def _routes(self, scores: Tensor, chosen: Tensor, load: Tensor, before: Int[Tensor, "B E"]) -> Routes:
        """Return the slots of T tokens, where so many choices have come before them."""
        batch, length = chosen.shape[:2]
        room = min(self.room, length)
        place = (load.cumsum(dim=1) - load).gather(-1, chosen)
        fits = place + before[:, None].expand_as(load).gather(-1, chosen) < self.room
        sequence = torch.arange(batch, device=chosen.device)[:, None, None]
        slots = torch.where(fits, (chosen * batch + sequence) * room + place, -1).flatten(0, 1)
        gates = scores.gather(-1, chosen).flatten(0, 1)
        if self.chosen > 1:
            gates = gates / gates.sum(dim=-1, keepdim=True)
        # Choices without a slot are written to one beyond the last, which is left out.
        size = self.number * batch * room
        target = torch.where(slots < 0, size, slots).flatten()
        choices = torch.full((size + 1,), -1, device=chosen.device)
        choices = choices.scatter(0, target, torch.arange(target.numel(), device=chosen.device))[:size]
        return Routes(gates, slots, choices)

    def _mapped(self, x: Tensor, routes: Routes) -> Tensor:
        rows, kind = x.flatten(0, 1), x.device.type
        if torch.is_autocast_enabled(kind):  # before rows are copied, not after
            rows = rows.to(torch.get_autocast_dtype(kind))
        tokens = routes.choices.div(self.chosen, rounding_mode="floor")
        groups = moved(rows, tokens, routes.slots).view(self.number, -1, rows.shape[-1])
        out: Tensor = self.down(self.hidden(self.up(groups))).flatten(0, 1)
        out = moved(out, routes.slots.flatten(), routes.choices[:, None]).view(-1, self.chosen, out.shape[-1])
        y: Tensor = (out * routes.gates[..., None]).sum(dim=1).to(out.dtype).view_as(x)
        if self.shared_up is None or self.shared_down is None:
            return y
        return y + cast(Tensor, self.shared_down(self.hidden(self.shared_up(x))))

    @staticmethod
    def counts(config: ModelConfig, layer: Layer) -> Counts:
        """Return parameters and operations: a token's own experts count as work, empty slots don't."""
        d, width, ups = config.d_model, config.expert_width, DENSE[config.mlp].ups
        expert, chosen = (ups + 1) * d * width, config.experts_per_token
        shared, router = config.shared_experts * width, d * config.experts
        places = (("mlp.up", d, ups * shared), ("mlp.down", shared, d)) if shared else ()
        return Counts.of(
            Counts(config.experts * expert, chosen * expert, idle=(config.experts - chosen) * expert),
            Counts(router, router),
            vectors(config.experts),
            *(linear_counts(config, place, n_in, n_out) for place, n_in, n_out in places),
        )


def unevenness(scores: Float[Tensor, "B T E"], load: Int[Tensor, "B T E"]) -> Float[Tensor, ""]:
    """Return the mean over sequences of Σ f · P: 1 where every expert is as likely and as busy as any other.

    f is an expert's share of the choices times E, P its mean share of a token's scores (DeepSeek-V3, eq. 17 to 20).
    """
    busy = load.sum(dim=1) * (load.shape[-1] / load.sum(dim=(1, 2))[:, None])
    likely = (scores / scores.sum(dim=-1, keepdim=True)).mean(dim=1)
    return (busy * likely).sum(dim=-1).mean()
