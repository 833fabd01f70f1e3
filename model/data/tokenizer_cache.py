"""Cache of trained tokenizers, by the text and the settings that they were trained with."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from model.config import TokenizerConfig
from model.data.cache import finish, is_complete, locked, scratch

FORMAT = 2
"""Version of the cached tokenizers; raise it when the same text and settings give another one."""
NAMES = 1
"""Version of the keys, which studies store: a study keeps its tokenizers even if others would be trained now."""
FILE = "tokenizer.model"
"""Name of a tokenizer's file."""


def key(text_sha256: str, config: TokenizerConfig) -> str:
    """Return the name of the tokenizer of this text and these settings."""
    return hashlib.sha256(json.dumps([NAMES, text_sha256, config.table()]).encode()).hexdigest()[:32]


def get(cache: Path, text_sha256: str, config: TokenizerConfig) -> bytes | None:
    """Return the tokenizer's bytes; None if it isn't in the cache."""
    folder = _folder(cache, text_sha256, config)
    return (folder / FILE).read_bytes() if is_complete(folder) else None


def get_or_train(cache: Path, text_sha256: str, config: TokenizerConfig, train: Callable[[], bytes]) -> bytes:
    """Return the tokenizer's bytes from the cache; if it isn't there, one process calls `train` and stores them."""
    folder = _folder(cache, text_sha256, config)
    if not is_complete(folder):
        with locked(cache, f"tokenizer-{folder.name}"):
            if not is_complete(folder):
                unfinished = scratch(folder)
                (unfinished / FILE).write_bytes(train())
                finish(unfinished, folder, {"settings": config.table()})
    return (folder / FILE).read_bytes()


def _folder(cache: Path, text_sha256: str, config: TokenizerConfig) -> Path:
    return cache / "tokenizers" / f"{key(text_sha256, config)}-{FORMAT}"
