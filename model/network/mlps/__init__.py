"""What maps each position by itself: each kind is a file here, or a class in one, and a line of `MLPS`."""

from model.network.mlps.dense import DENSE
from model.network.mlps.experts import Experts
from model.network.mlps.tracks import TrackMLP
from model.network.part import Part

MLPS: dict[str, type[Part]] = {**DENSE, "experts": Experts, "tracks": TrackMLP}
"""MLPs by the name that a block's layer gives."""
