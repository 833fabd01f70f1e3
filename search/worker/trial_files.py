"""Files that a worker keeps with the study: weights, samples and records of long runs, traces of errors."""

import contextlib
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import torch

from model.data.tokenizer import Tokenizer
from model.errors import CheckpointError
from model.formats import checkpoint
from model.network.transformer import Transformer
from model.sample import samples
from search.common import paths
from search.study.artifacts import AT_PERCENT, attach, state_file
from search.study.study import LinkedStudy
from search.study.trials import run_label
from storage.errors import first_line
from storage.queue.trial_queue import Claim
from storage.redaction import redact

Say = Callable[[str], None]
PATIENCE_SECONDS = 300.0
"""Seconds that an upload waits for a database that is away; the worker's next trial waits too."""


class LastLines:
    """Prints lines for people, and keeps the last ones in `lines`."""

    def __init__(self, say: Say, most: int = 50) -> None:
        self._say = say
        self.lines: deque[str] = deque(maxlen=most)

    def __call__(self, line: str) -> None:
        """Print the line."""
        self.lines.append(line)
        self._say(line)


def save_weights(
    study: LinkedStudy, number: int, network: Transformer, tokenizer: Tokenizer, info: Mapping[str, Any], say: Say
) -> Path | None:
    """Save a confirmation run's weights on this disk; return their file.

    Those of a state before its end, whose `info` has `AT_PERCENT`, are saved beside them. Returns None, and says why,
    if the disk doesn't take them: that is no reason to lose the result.
    """
    percent = info.get(AT_PERCENT)
    name = f"confirm-{number}.pt" if percent is None else state_file(number, percent)
    weights = paths.checkpoints(study.runs_folder) / name
    try:
        weights.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(weights, network, tokenizer, dict(info))
    except (CheckpointError, OSError) as error:
        at = "" if percent is None else f" at {percent}%"
        say(f"note: {run_label(False, number)} has no weights{at}: {error}")
        return None
    return weights


def saved_states(study: LinkedStudy, number: int) -> list[Path]:
    """Return the files of a run's states before its end on this disk, in order of progress."""
    files = paths.checkpoints(study.runs_folder).glob(state_file(number, "*"))
    return sorted(files, key=lambda path: (len(path.name), path.name))


def keep_confirmed(
    study: LinkedStudy, trial_id: int, weights: Path, device: torch.device, say: Say, states: Sequence[Path] = ()
) -> None:
    """Store a confirmation run's weights with the study, samples of theirs, and its last states; never raises."""
    part, texts = study.confirmations, dict[str, str]()
    with _noted(f"{weights.stem} has no samples", say):
        texts[weights.stem.replace("confirm", "samples") + ".txt"] = samples(checkpoint.load(weights, device))
    with _noted(f"not all of {weights.stem}'s files could be stored", say):
        for name, text in texts.items():
            _keep_text(study, part, trial_id, name, text)
        _keep(study, part, trial_id, weights)  # last: they may be too large
    for path in states:
        with _noted(f"{path.stem} could not be stored", say):
            _keep(study, part, trial_id, path)


def keep_record(study: LinkedStudy, trial_id: int, number: int, text: str, say: Say) -> None:
    """Store the record of a confirmation run with the study; never raises."""
    name = f"record-{number}.txt"
    with _noted(f"{name} could not be stored", say):
        _keep_text(study, study.confirmations, trial_id, name, redact(text))


def keep_trace(study: LinkedStudy, part: optuna.Study, claim: Claim, trace: str, say: LastLines) -> None:
    """Store the trace of an error and the worker's last lines with the trial that failed; never raises."""
    name = f"error-{claim.number}.txt"
    text = "\n".join([trace.rstrip(), "", "The worker's last lines:", *say.lines, ""])
    with _noted(f"{name} could not be stored", say):
        _keep_text(study, part, claim.trial_id, name, redact(text))


def _keep(study: LinkedStudy, part: optuna.Study, trial_id: int, path: Path) -> None:
    study.database.retrying(lambda: attach(study, part, trial_id, path), give_up_seconds=PATIENCE_SECONDS)


def _keep_text(study: LinkedStudy, part: optuna.Study, trial_id: int, name: str, text: str) -> None:
    with tempfile.TemporaryDirectory(prefix="lilm-search-") as folder:
        path = Path(folder) / name
        path.write_text(text, encoding="utf-8")
        _keep(study, part, trial_id, path)


@contextlib.contextmanager
def _noted(failure: str, say: Say) -> Iterator[None]:
    """Print a note if the block raises, and go on: a file is no reason to fail a trial."""
    try:
        yield
    except Exception as error:
        say(f"note: {failure}: {first_line(error)}")
