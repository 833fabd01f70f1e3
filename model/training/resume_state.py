"""The state of a run in mid-training, kept in a file: a run that was cut off goes on from it.

On a CPU it ends bit for bit as if it had never been cut off. On a GPU no two runs do: flash attention's backward pass
adds in the order in which its blocks come.

The file is a line of JSON, which says what the state belongs to, and torch's archive, guarded by a digest: torch
itself reads an archive with flipped bits without a word.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from model.config import ModelConfig, TrainConfig
from model.data.corpus import Corpus
from model.errors import CheckpointError
from model.training.result import Report

FORMAT = "lilm-search training state 2"
LONGEST_HEAD = 4096
Head = dict[str, Any]


class Keeper(Protocol):
    """Where a run's states are kept; called off the clock."""

    def newest(self) -> Path | None:
        """Return the state to go on from, where there may be one."""

    def resumed(self, reports: Sequence[Report], progress: float) -> None:
        """Learn that the run goes on from that state, and what it had reported until then."""

    def keep(self, seconds: float, write: Callable[[Path], None]) -> None:
        """Call `write` with a path to have the state, of so many training seconds, written there; or leave it."""


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """All that a run's next step depends on; where its data go on follows from the steps made."""

    identity: str
    """Of what is trained, on what, for how long: a state of anything else is foreign."""
    steps: int
    learning_rate: float
    """Of the last step."""
    seconds: dict[str, float]
    """On each of the run's stopwatches."""
    reports: list[dict[str, Any]]
    tensors: list[Tensor]
    """Weights, what the optimizer remembers, the mean of weights, and the loss since the last report."""
    averaged: int
    """Steps whose weights are in the mean."""


def identity(config: ModelConfig, training: TrainConfig, corpus: Corpus, facts: Sequence[Any]) -> str:
    """Return a hash of what a run is, by which its states are known."""
    text = [corpus.text_sha256, len(corpus.train.ids), len(corpus.validation.ids), corpus.tokenizer.sha256]
    described = json.dumps([FORMAT, config.table(), training.table(), text, facts], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()


def save(path: Path, state: TrainingState) -> None:
    """Write the file at once or not at all; raises `CheckpointError` where it can't be written."""
    content = {f.name: getattr(state, f.name) for f in fields(state)}
    content["tensors"] = [t.detach().cpu() for t in state.tensors]
    archive = io.BytesIO()
    torch.save(content, archive)
    body = archive.getbuffer()
    digest = hashlib.sha256(body).hexdigest()
    head = {"format": FORMAT, "identity": state.identity, "seconds": state.seconds["training"], "sha256": digest}
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(json.dumps(head).encode() + b"\n")
            file.write(body)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise CheckpointError(f"{path}: can't be written: {error.strerror or error}") from None


def seconds_in(path: Path) -> float:
    """Return the training seconds that a state's first line claims; 0 where there is no such file."""
    try:
        with path.open("rb") as file:
            return float(_head(file.readline(LONGEST_HEAD))["seconds"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0.0


def load(path: Path, identity: str) -> TrainingState | None:
    """Return the run's state, or None for a file that is damaged, missing or another run's: nothing in it is run."""
    try:
        line, _, body = path.read_bytes().partition(b"\n")
        head = _head(line)
        if head["identity"] != identity or head["sha256"] != hashlib.sha256(body).hexdigest():
            return None
        state = TrainingState(**torch.load(io.BytesIO(body), map_location="cpu", weights_only=True))
    except Exception:  # bytes that are no state fail in whatever way their reader meets them
        return None
    return state if state.identity == identity else None


def _head(line: bytes) -> Head:
    head = json.loads(line)
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ValueError("not a training state of this version")
    return head


def copy_into(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Write tensors over others in place: captured graphs know their addresses."""
    with torch.no_grad():
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)


def alike(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> bool:
    """Return whether tensors agree in number, shape and type."""
    return [(t.shape, t.dtype) for t in targets] == [(s.shape, s.dtype) for s in sources]
