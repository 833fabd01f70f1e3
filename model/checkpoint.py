"""One file that holds a trained network, its tokenizer and what is known of it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.config import ModelConfig
from model.errors import CheckpointError, ModelError
from model.network import Transformer
from model.tokenizer import Tokenizer

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
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        torch.save(content, unfinished)
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:  # torch has RuntimeErrors for files that can't be opened
        unfinished.unlink(missing_ok=True)
        raise CheckpointError(f"{path}: can't be written: {error}") from None


def load(path: Path, device: torch.device) -> Checkpoint:
    """Read a file of `save`; raises `CheckpointError` for any other. Nothing in the file is executed."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror or error}") from None
    except Exception:  # bytes that are no checkpoint fail in whatever way the unpickler meets them
        raise CheckpointError(f"{path}: not a checkpoint, or a damaged one; `train --out` writes one") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of this version of lilm-search (wanted: {FORMAT})")
    try:
        tokenizer = Tokenizer(content["tokenizer"])
        network = Transformer(ModelConfig(**content["config"]), tokenizer.vocab_size)
        network.load_state_dict(content["weights"])
    except (KeyError, TypeError, RuntimeError, ModelError) as error:
        raise CheckpointError(f"{path}: damaged: {str(error).splitlines()[0]}") from None
    return Checkpoint(network.to(device).eval(), tokenizer, content.get("info", {}))
