"""A checkpoint: one file with a trained network, its tokenizer and information about its training."""

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
from model.network.part import Compact
from model.network.transformer import Transformer
from model.options.documents import SEPARATOR

FORMAT = "lilm-search checkpoint 1"
PACKED_IN_BYTE, PACKED_SPARE = 4, 4
"""Weights that a byte of few levels holds; the most numbers that a packed matrix stores beyond its parameters: three
that fill its last byte, and its scale."""


@dataclass(frozen=True)
class Checkpoint:
    """A network ready for use, with its tokenizer."""

    network: Transformer
    tokenizer: Tokenizer
    info: dict[str, Any]


def save(path: Path, network: Transformer, tokenizer: Tokenizer, info: dict[str, Any]) -> None:
    """Write the file whole or not at all; `info` holds plain values. Raises `CheckpointError`."""
    weights = stored_weights(network)
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


def stored_weights(network: Transformer) -> dict[str, torch.Tensor]:
    """Return what every file holds of a network: its weights, those of few levels packed (`Compact`)."""
    weights = dict(network.state_dict())
    for name, module in network.named_modules():
        if isinstance(module, Compact):
            weights = {key: w for key, w in weights.items() if not key.startswith(f"{name}.")}
            weights |= {f"{name}.{key}": w for key, w in module.packed_form().items()}
    return {name: w.detach().cpu().contiguous() for name, w in weights.items()}


def load(path: Path, device: torch.device) -> Checkpoint:
    """Read a file of `save`; raises `CheckpointError` for any other. Nothing in the file is executed."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror or error}") from None
    except Exception:  # other bytes make the unpickler fail in any way
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
    """Make a network ready for use of a file's parts; raises `CheckpointError` if they don't fit together."""
    try:
        tokenizer, settings = Tokenizer(proto), ModelConfig.parse(config)
        if not isinstance(info, dict):
            raise CheckpointError(f"what is known of it is {info!r:.40}, but must be a table")
        if settings.document_mask and tokenizer.separator != SEPARATOR:
            raise CheckpointError(
                f"its tokenizer separates documents by token {tokenizer.separator}, but where document_mask is set it "
                f"must be {SEPARATOR}"
            )
        stored, needed = sum(map(_stored, weights.values())), count_parameters(settings, tokenizer.vocab_size)
        spare = PACKED_SPARE * sum(w.dtype == torch.uint8 for w in weights.values())
        if not 0 <= stored - needed <= spare:  # before memory is allocated for weights that a file only claims to have
            raise CheckpointError(f"it holds {stored:,} weights, but its settings need {needed:,}")
        if bad := next((name for name, w in weights.items() if not w.isfinite().all()), None):
            raise CheckpointError(f"its weights {bad} hold what is no finite number (NaN, infinity)")
        network = Transformer(settings, tokenizer.vocab_size)
        for module in network.modules():
            if isinstance(module, Compact):
                module.expect_packed()
        network.load_state_dict(weights)
    except (AttributeError, TypeError, RuntimeError, ModelError) as error:
        raise CheckpointError(f"{origin}: damaged: {str(error).splitlines()[0]}") from None
    return Checkpoint(network.to(device).eval(), tokenizer, info)


def _stored(weights: torch.Tensor) -> int:
    """Return the number of weights that the file stores for a tensor, which its shape and strides may overstate."""
    if weights.is_meta:
        return 0
    there = min(weights.numel(), weights.untyped_storage().nbytes() // weights.element_size())
    return there * (PACKED_IN_BYTE if weights.dtype == torch.uint8 else 1)
