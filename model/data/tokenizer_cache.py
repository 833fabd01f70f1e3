"""Tokenizers that were trained on a text, kept by what they were trained from: text and settings."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from model.config import TokenizerConfig
from model.data.cache import finish, locked, scratch, whole

FORMAT = 2  # of what is cached; raise it when a tokenizer comes out differently
NAMES = 1  # of keys, which studies keep: one that has its tokenizers goes on with them, whatever would be trained now
FILE = "tokenizer.model"


def key(text_sha256: str, config: TokenizerConfig) -> str:
    """Return the name of the tokenizer that these settings give on this text."""
    return hashlib.sha256(json.dumps([NAMES, text_sha256, config.table()]).encode()).hexdigest()[:32]


def known(cache: Path, text_sha256: str, config: TokenizerConfig) -> bytes | None:
    """Return the tokenizer's bytes where it is in the cache."""
    folder = _folder(cache, text_sha256, config)
    return (folder / FILE).read_bytes() if whole(folder) else None


def keep(cache: Path, text_sha256: str, config: TokenizerConfig, train: Callable[[], bytes]) -> bytes:
    """Return the tokenizer's bytes from the cache, where `train` puts them first if need be: one process trains."""
    folder = _folder(cache, text_sha256, config)
    if not whole(folder):
        with locked(cache, f"tokenizer-{folder.name}"):
            if not whole(folder):
                place = scratch(folder)
                (place / FILE).write_bytes(train())
                finish(place, folder, {"settings": config.table()})
    return (folder / FILE).read_bytes()


def _folder(cache: Path, text_sha256: str, config: TokenizerConfig) -> Path:
    return cache / "tokenizers" / f"{key(text_sha256, config)}-{FORMAT}"
