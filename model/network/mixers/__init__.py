"""What lets positions look at those before them: each kind is a file here and a line of `MIXERS`."""

from model.network.mixers.attention import Attention
from model.network.mixers.borrowed import BorrowedAttention
from model.network.mixers.compressive import CompressiveAttention
from model.network.mixers.latent import LatentAttention
from model.network.mixers.mamba import Mamba
from model.network.mixers.megalodon import Megalodon
from model.network.mixers.tracks import TrackAttention
from model.network.part import Part

MIXERS: dict[str, type[Part]] = {
    "full": Attention,
    "grouped": Attention,
    "latent": LatentAttention,
    "borrowed": BorrowedAttention,
    "mamba2": Mamba,
    "megalodon": Megalodon,
    "compressive": CompressiveAttention,
    "tracks": TrackAttention,
}
"""Mixers by the name that a block's layer gives."""
