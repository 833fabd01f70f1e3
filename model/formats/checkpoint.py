"""One file that holds a trained network, its tokenizer and what is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.atomic import replacing
from model.config import ModelConfig
from model.data.tokenizer import Tokenizer
from model.errors import CheckpointError, ModelError
from model.network.flops import count_parameters
from model.network.transformer import Transformer

FORMAT = "lilm-search checkpoint 1"


@dataclass(frozen=True)
class Checkpoint:
    """A network ready for use, with its tokenizer."""

    network: Transformer
    tokenizer: Tokenizer
    info: dict[str, Any]


def save(path: Path, network: Transformer, tokenizer: Tokenizer, info: dict[str, Any]) -> None:
    """Write the file at once or not at all; `info` holds plain values."""
    weights = {k: v.detach().cpu() for k, v in network.state_dict().items()}
    content = {
        "format": FORMAT,
        "config": network.config.table(),
        "weights": weights,
        "tokenizer": tokenizer.proto,
        "info": info,
    }
    try:
        with replacing(path) as unfinished:
            torch.save(content, unfinished)
    except (OSError, RuntimeError) as error:  # torch has RuntimeErrors for files that can't be opened
        raise CheckpointError(f"{path}: can't be written: {error}") from None


def load(path: Path, device: torch.device) -> Checkpoint:
    """Read a file of `save`; raises `CheckpointError` for any other. Nothing in the file is executed."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror or error}") from None
    except Exception:  # bytes that are no checkpoint fail in whatever way the unpickler meets them
        raise CheckpointError(
            f"{path}: not a checkpoint, bundle or folder of lilm-search, or a damaged one; "
            "`train --out` writes a checkpoint, `export --bundle` or `--huggingface` the others"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of this version of lilm-search (wanted: {FORMAT})")
    try:
        parts = (content["config"], content["weights"], content["tokenizer"])
    except KeyError as error:
        raise CheckpointError(f"{path}: damaged: {error} is missing") from None
    return assemble(path, *parts, content.get("info", {}), device)


def assemble(
    origin: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    proto: bytes,
    info: dict[str, Any],
    device: torch.device,
) -> Checkpoint:
    """Return the parts of a file as a network ready for use; raises `CheckpointError` where they don't fit."""
    try:
        tokenizer, settings = Tokenizer(proto), ModelConfig.parse(config)
        if not isinstance(info, dict):
            raise CheckpointError(f"what is known of it is {info!r:.40}, but must be a table")
        held, wanted = sum(map(_held, weights.values())), count_parameters(settings, tokenizer.vocab_size)
        if held != wanted:  # before memory is taken for what a file only claims to hold
            raise CheckpointError(f"it holds {held:,} weights, but its settings need {wanted:,}")
        network = Transformer(settings, tokenizer.vocab_size)
        network.load_state_dict(weights)
    except (AttributeError, TypeError, RuntimeError, ModelError) as error:
        raise CheckpointError(f"{origin}: damaged: {str(error).splitlines()[0]}") from None
    return Checkpoint(network.to(device).eval(), tokenizer, info)


def _held(weights: torch.Tensor) -> int:
    """Return how many weights the file really holds for a tensor: its strides, or no storage, may claim any number."""
    return 0 if weights.is_meta else min(weights.numel(), weights.untyped_storage().nbytes() // weights.element_size())
