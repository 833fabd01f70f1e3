"""Trains one language model under a time budget and measures its bits per byte.

The public names, which stay when files move: `from model import train, load`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.config import DataConfig, ModelConfig, TokenizerConfig, TrainConfig
    from model.data.corpus import prepare
    from model.evaluate import val_bpb
    from model.formats.checkpoint import save
    from model.formats.load import load
    from model.training.result import Report, Result
    from model.training.train import train


_PUBLIC = {
    "DataConfig": "model.config",
    "ModelConfig": "model.config",
    "Report": "model.training.result",
    "Result": "model.training.result",
    "TokenizerConfig": "model.config",
    "TrainConfig": "model.config",
    "load": "model.formats.load",
    "prepare": "model.data.corpus",
    "save": "model.formats.checkpoint",
    "train": "model.training.train",
    "val_bpb": "model.evaluate",
}
__all__ = [
    "DataConfig",
    "ModelConfig",
    "Report",
    "Result",
    "TokenizerConfig",
    "TrainConfig",
    "load",
    "prepare",
    "save",
    "train",
    "val_bpb",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the records of `model.config` need no torch."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
