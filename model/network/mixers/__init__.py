"""What lets positions look at those before them: each kind is a file here and a line of `MIXERS`."""

from model.network.mixers.attention import Attention
from model.network.mixers.latent import LatentAttention

MIXERS: dict[str, type[Attention]] = {"full": Attention, "grouped": Attention, "latent": LatentAttention}
"""Mixers by the name that a block's layer gives."""
