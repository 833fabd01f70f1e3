"""What one block of a network is made of."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The kinds of a block and its parts, by their names in `model.network`, and how far its attention looks back."""

    block: str = "block"
    mixer: str
    mlp: str
    window: int
    """Tokens that attention looks back on, its own included; 0: the whole context."""
    lends: bool = False
    """Whether attention hands its keys and values on to the next block."""
    values: str = "own"
    """What attention gathers: its "own" values, its own as the "first" for all, or its own "mixed" with the first."""
    shortcut: bool = False
    """Whether the embedding is added to the block's input."""
    splits: bool = False
    """Whether the block gives its input to each of several tracks."""
    joins: bool = False
    """Whether the block's tracks are averaged after it."""
