"""The tree that is looked at: its parts by name, wherever that commit has them (1c68674 has other modules)."""

import importlib
from typing import Any

import numpy as np
import torch

PLACES = {
    "ModelConfig": ("model.config",),
    "TrainConfig": ("model.config",),
    "Transformer": ("model.network.transformer", "model.network"),
    "Step": ("model.training.step", "model.step"),
    "train": ("model.training.train", "model.train"),
    "val_bpb": ("model.evaluate",),
    "Tokens": ("model.data.tokens", "model.tokens"),
    "Corpus": ("model.data.corpus", "model.corpus"),
    "prepare": ("model.data.corpus", "model.corpus"),
    "DataConfig": ("model.config",),
    "TokenizerConfig": ("model.config",),
    "report_bytes": ("model.training.report_size",),
    "evaluation_tokens_per_second": ("model.training.report_size",),
    "on_device": ("model.network.device", "model.device"),
    "fast_matmul": ("model.network.device", "model.device"),
    "LOGITS_AT_ONCE": ("model.network.loss", "model.loss"),
}
RATE = 1e-3


def part(name: str) -> Any:
    """Return a part of the tree; raises `LookupError` where this commit has it nowhere."""
    for place in PLACES[name]:
        try:
            return getattr(importlib.import_module(place), name)
        except (ImportError, AttributeError):
            continue
    raise LookupError(f"no {name} in {', '.join(PLACES[name])}")


def on_device(device: torch.device) -> Any:
    """Return the context in which this commit trains."""
    try:
        return part("on_device")(device)
    except LookupError:
        return part("fast_matmul")(device)


def network(device: torch.device, vocab_size: int, **options: Any) -> Any:
    """Return a network on the device."""
    config = part("ModelConfig")(**options)
    return part("Transformer")(config, vocab_size, torch.Generator().manual_seed(0)).to(device)


def step(net: Any, **training: Any) -> Any:
    """Return a step of a network, not yet prepared."""
    return part("Step")(net, part("TrainConfig")(**training), budget_seconds=600.0)


def rows(of: Any) -> torch.Tensor:
    """Return a batch for a step; the numbers don't matter where kernels do nothing."""
    return torch.zeros(of.training.batch_size, of.network.config.context + 1, dtype=torch.int64)


class Made:
    """A tokenizer that only says how many tokens it has: the text is made up."""

    separator, sha256, proto = 0, "0" * 64, b""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size


def corpus(vocab_size: int, validation_tokens: int = 150_000) -> Any:
    """Return a corpus of made-up tokens."""
    validation = text(vocab_size, validation_tokens)
    return part("Corpus")(text(vocab_size, 600_000), validation, Made(vocab_size), "0" * 64, 3.0, 2.0)


def text(vocab_size: int, n_tokens: int) -> Any:
    """Return documents of 1,000 made-up tokens, of 4 bytes each."""
    ids = np.random.default_rng(0).integers(0, vocab_size, n_tokens).astype(np.uint16)
    starts = np.arange(0, n_tokens + 1, 1000)
    return part("Tokens")(ids, starts, np.full(len(starts) - 1, 4000))
