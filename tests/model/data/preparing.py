"""Preparations in processes of their own; apart from the tests, so that those processes import little."""

import signal
from pathlib import Path
from typing import Any

from model.config import DataConfig, TokenizerConfig
from model.data.corpus import prepare

SMALL = TokenizerConfig(vocab_size=400)


def prepare_and_tell(data: DataConfig, cache: Path, told: Any) -> None:
    """Prepare the text; tell the tokenizer, and whether this process read the text and trained."""
    stages: list[str] = []
    corpus = prepare(data, SMALL, cache, lambda stage, done, total: stages.append(stage))
    told.put((corpus.tokenizer.sha256, "reading text" in stages, any(s.startswith("training") for s in stages)))


def prepare_until(at: str, data: DataConfig, cache: Path, ready: Any) -> None:
    """Prepare the text up to a stage, and wait there to be killed."""

    def hang(stage: str, done: int, total: int | None) -> None:
        if stage.startswith(at):
            ready.put(stage)
            signal.pause()

    prepare(data, SMALL, cache, hang)
