"""Settings of a mixture of experts in place of the MLP."""

import math
from dataclasses import dataclass, replace

from model.errors import SettingsError
from model.options.layer import Layer
from model.options.plain import PlainConfig
from model.settings import setting


@dataclass(frozen=True, kw_only=True)
class MixtureOfExperts(PlainConfig):
    """How many small MLPs there are, how many of them a token passes through, and how their load is evened out."""

    experts: int = setting(
        0,
        "small MLPs in a block, of which a router chooses some for each token; 0: one MLP",
        at_least=0,
        at_most=256,
    )
    experts_per_token: int = setting(
        2, "experts that a router chooses for a token, no more than there are", at_least=1, at_most=64
    )
    shared_experts: int = setting(0, "further experts, which every token passes through", at_least=0, at_most=64)
    expert_capacity: float = setting(
        1.25,
        "an expert's room in a sequence ÷ its even share of the choices; later tokens that choose it are dropped there",
        above=0,
        at_most=256,
    )
    expert_bias_rate: float = setting(
        0.001, "step of each expert's bias towards an even load, after each optimizer step; 0: no bias", at_least=0
    )
    expert_balance_loss: float = setting(
        0.0, "weight of the loss that rises where a sequence's tokens choose the same experts; 0: none", at_least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.experts and self.experts_per_token > self.experts:
            raise SettingsError(
                f"`experts_per_token` is {self.experts_per_token}, but must be <= experts ({self.experts})"
            )
        if self.experts and (kind := self.linear_kind("mlp.up")) != "dense":
            raise SettingsError(
                f'`experts` is {self.experts}, but must be 0 where the linear layers of MLPs are "{kind}": experts are '
                'stacks of dense matrices; linear_in = "attention" leaves them so'
            )

    @property
    def expert_width(self) -> int:
        """Hidden width of one expert, a multiple of 16: those of a token together have the MLP's."""
        return max(16, round(self.hidden_width / (self.experts_per_token + self.shared_experts) / 16) * 16)

    @property
    def expert_room(self) -> int:
        """Tokens of one sequence that an expert takes at most."""
        share = self.context * self.experts_per_token / self.experts
        return min(self.context, math.ceil(self.expert_capacity * share))

    @property
    def penalised(self) -> bool:
        """Whether blocks add to the loss."""
        return super().penalised or bool(self.experts and self.expert_balance_loss)

    def layer(self, index: int) -> Layer:
        """Return a block's layer."""
        layer = super().layer(index)
        return replace(layer, mlp="experts") if self.experts else layer
