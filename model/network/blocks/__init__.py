"""Blocks, whose sequence is the network: each kind is a file here and a line of `BLOCKS`."""

from model.config import ModelConfig
from model.network.blocks.depths import DepthsBlock
from model.network.blocks.residual import Block
from model.network.blocks.tracks import TracksBlock
from model.network.blocks.two_hop import TwoHopBlock
from model.network.counts import Counts
from model.network.part import Part
from model.options.layer import Layer

BLOCKS: dict[str, type[Part]] = {
    "block": Block,
    "depths": DepthsBlock,
    "tracks": TracksBlock,
    "two_hop": TwoHopBlock,
}
"""Blocks by the name that a layer gives."""


def make_block(config: ModelConfig, layer: Layer) -> Part:
    """Return the block of a layer."""
    return BLOCKS[layer.block](config, layer)


def block_counts(config: ModelConfig, layer: Layer) -> Counts:
    """Return parameters and operations of a layer's block by closed form."""
    return BLOCKS[layer.block].counts(config, layer)
