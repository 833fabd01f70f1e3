"""Files that a worker keeps with the study: weights, samples and records of long runs, traces of errors."""

import contextlib
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import torch

from model.formats import checkpoint
from model.sample import samples
from search.study.artifacts import attach
from search.study.study import LinkedStudy
from storage.errors import first_line
from storage.queue.trial_queue import Claim
from storage.redaction import redact

Say = Callable[[str], None]
PATIENCE_SECONDS = 300.0
"""How long an upload waits for a database that is away: the next trial waits with it."""


class LastLines:
    """Says what it is told to, and remembers the end of it."""

    def __init__(self, say: Say, most: int = 50) -> None:
        self._say = say
        self.lines: deque[str] = deque(maxlen=most)

    def __call__(self, line: str) -> None:
        """Say the line."""
        self.lines.append(line)
        self._say(line)


def keep_confirmed(study: LinkedStudy, trial_id: int, weights: Path, device: torch.device, say: Say) -> None:
    """Store a confirmation run's weights, and what they write on from the standard prompts; never raises."""
    part, texts = study.confirmations, dict[str, str]()
    with _said(f"{weights.stem} has no samples", say):
        texts[weights.stem.replace("confirm", "samples") + ".txt"] = samples(checkpoint.load(weights, device))
    with _said(f"not all of {weights.stem}'s files could be stored", say):
        for name, text in texts.items():
            _keep_text(study, part, trial_id, name, text)
        _keep(study, part, trial_id, weights)  # last: they may be too large


def keep_record(study: LinkedStudy, trial_id: int, number: int, text: str, say: Say) -> None:
    """Store what is on record of a confirmation run; never raises."""
    name = f"record-{number}.txt"
    with _said(f"{name} could not be stored", say):
        _keep_text(study, study.confirmations, trial_id, name, redact(text))


def keep_trace(study: LinkedStudy, part: optuna.Study, claim: Claim, trace: str, say: LastLines) -> None:
    """Store the trace of an error and the worker's last lines with the trial that failed; never raises."""
    name = f"error-{claim.number}.txt"
    text = "\n".join([trace.rstrip(), "", "The worker's last lines:", *say.lines, ""])
    with _said(f"{name} could not be stored", say):
        _keep_text(study, part, claim.trial_id, name, redact(text))


def _keep(study: LinkedStudy, part: optuna.Study, trial_id: int, path: Path) -> None:
    study.database.retrying(lambda: attach(study, part, trial_id, path), give_up_seconds=PATIENCE_SECONDS)


def _keep_text(study: LinkedStudy, part: optuna.Study, trial_id: int, name: str, text: str) -> None:
    with tempfile.TemporaryDirectory(prefix="lilm-search-") as folder:
        path = Path(folder) / name
        path.write_text(text, encoding="utf-8")
        _keep(study, part, trial_id, path)


@contextlib.contextmanager
def _said(what: str, say: Say) -> Iterator[None]:
    """Say what went wrong in the block, and go on: a file is no reason to fail a trial."""
    try:
        yield
    except Exception as error:
        say(f"note: {what}: {first_line(error)}")
