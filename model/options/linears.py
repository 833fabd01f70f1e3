"""Settings of the linear layers inside blocks."""

from dataclasses import dataclass

from model.options.plain import PlainConfig
from model.settings import setting


@dataclass(frozen=True, kw_only=True)
class Linears(PlainConfig):
    """What the linear layers inside blocks are made of, and which of them."""

    linear: str = setting(
        "dense",
        "linear layers inside blocks: one matrix, a ring of three tensors, or one of few levels, inputs of eight bits",
        choices=("dense", "ring", "ternary", "two_bit"),
    )
    linear_in: str = setting(
        "all",
        "parts of blocks whose linear layers are of that kind; others are dense",
        choices=("all", "attention", "mlp"),
    )
    bond: int = setting(8, "bond dimension of tensor rings", at_least=1, at_most=128)

    def linear_kind(self, place: str) -> str:
        """Return the kind of the linear layer at this place."""
        chosen = self.linear_in in ("all", place.split(".")[0])
        return self.linear if chosen else super().linear_kind(place)
