"""The models that write: those of a study's confirmation runs, and any others from files."""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from optuna.trial import FrozenTrial

from model.config import DataConfig
from model.errors import SettingsError
from model.formats.checkpoint import Checkpoint
from model.formats.load import load
from search.common.errors import SearchError
from search.common.safe_text import plain_line
from search.export.bundle import run_weights
from search.study.results import Confirmed, confirmed
from search.study.study import LinkedStudy


@dataclass(frozen=True)
class Author:
    """A model that writes."""

    name: str
    """Its name for people; no judge sees it."""
    model: Checkpoint
    source: str
    """Where it comes from: a file, or a study's run."""

    @property
    def data(self) -> DataConfig | None:
        """The text that it was trained on, if its file says."""
        try:
            return DataConfig.parse(self.model.info["data"], "data")
        except (LookupError, SettingsError):
            return None


def fingerprint(model: Checkpoint) -> str:
    """Return the SHA-256 of a model's settings, weights and tokenizer."""
    digest = hashlib.sha256(f"{model.network.config.table()} {model.tokenizer.sha256}".encode())
    for name, weights in sorted(model.network.state_dict().items()):
        flat = weights.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name} {weights.dtype} {list(weights.shape)}".encode())
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def authors_of_files(files: Sequence[Path], device: torch.device) -> list[Author]:
    """Return the models of files, named as these are; raises `CheckpointError`."""
    names = [file.stem or str(file) for file in files]
    return [
        Author(plain_line(name if names.count(name) == 1 else str(file)), load(file, device), str(file))
        for name, file in zip(names, files, strict=True)
    ]


def authors_of_study(
    study: LinkedStudy, device: torch.device, top: int | None, every_run: bool, say: Callable[[str], None]
) -> list[Author]:
    """Return the networks of a study's confirmation runs whose weights are stored, the best configuration first.

    Args:
        study: the study.
        device: where the networks go.
        top: number of configurations, the best ones, or None for all.
        every_run: whether to take every run of a configuration, not only the best one.
        say: is told of runs whose weights aren't stored.

    Raises `SearchError` if no weights are stored at all.

    """
    entries = confirmed(study)[:top]
    if not entries:
        raise SearchError(f"{study.plan.name} has no confirmed model yet; name models from elsewhere with --checkpoint")
    with tempfile.TemporaryDirectory(prefix="lilm-search-") as scratch:
        authors = [a for entry in entries for a in _authors(study, entry, Path(scratch), every_run, say)]
    if not authors:
        raise SearchError(
            f"none of {study.plan.name}'s confirmed models has its weights stored (`artifact_mb` is "
            f"{study.plan.workers.artifact_mb:g}); name their files with --checkpoint"
        )
    return [replace(author, model=replace(author.model, network=author.model.network.to(device))) for author in authors]


def _authors(
    study: LinkedStudy, entry: Confirmed, scratch: Path, every_run: bool, say: Callable[[str], None]
) -> list[Author]:
    authors: list[Author] = []
    for run in sorted(entry.runs, key=lambda run: run.value or 0.0):
        trained = run_weights(study, run, scratch, say)
        if trained is None:
            continue
        authors.append(Author(_name(entry, run, every_run), trained, f"{study.plan.name}, confirmation {run.number}"))
        if not every_run:
            break
    return authors


def _name(entry: Confirmed, run: FrozenTrial, every_run: bool) -> str:
    return plain_line(f"{entry.label}, run {run.number}" if every_run else entry.label)
