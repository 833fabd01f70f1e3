"""What was found out once for a shape on a device, kept for the next run: a small JSON file for each."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch

from model.config import ModelConfig, TrainConfig


class MicroBatches:
    """The micro-batches that fitted, by shape and device. Written at once or not at all; a damaged one is as none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, key: str) -> int | None:
        """Return what fitted, or None where nothing is known."""
        if self._folder is None:
            return None
        try:
            found = json.loads((self._folder / key).read_text())["micro_batch"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return found if isinstance(found, int) and found >= 1 else None

    def put(self, key: str, micro_batch: int) -> None:
        """Keep what fitted."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = self._folder / f"{key}.{os.getpid()}.tmp"
        unfinished.write_text(json.dumps({"micro_batch": micro_batch}))
        unfinished.replace(self._folder / key)

    def forget(self, key: str) -> None:
        """Find it anew the next time."""
        if self._folder is not None:
            (self._folder / key).unlink(missing_ok=True)


def shape_key(config: ModelConfig, vocab_size: int, training: TrainConfig, device: torch.device, mode: str) -> str:
    """Return an identity of all that a step's memory depends on."""
    facts: list[Any] = [config.table(), vocab_size, training.batch_size, training.micro_batch, training.optimizer]
    facts += [training.average_fraction > 0, mode, str(torch.__version__), str(device.type)]
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts += [properties.name, properties.total_memory]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
