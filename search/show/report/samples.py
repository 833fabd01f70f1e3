"""Texts that a study's winner generated from the standard prompts, as stored with its runs."""

import contextlib

from optuna.artifacts.exceptions import ArtifactNotFound

from search.analysis.snapshot import Snapshot
from search.study.artifacts import artifact_files, study_artifacts
from search.study.study import LinkedStudy
from storage.errors import StorageError

MOST_CHARACTERS = 6000


def winners_samples(study: LinkedStudy, snapshot: Snapshot) -> str:
    """Return the samples of the best configuration's first run that has any; empty if none are stored."""
    if not snapshot.confirmed:
        return ""
    names = {f"samples-{run.number}.txt" for run in snapshot.confirmed[0].runs}
    with contextlib.suppress(ArtifactNotFound, StorageError, OSError):
        for file in artifact_files(study.confirmations):
            if file.filename in names:
                with study_artifacts(study).open_reader(file.artifact_id) as source:
                    text = source.read(4 * MOST_CHARACTERS).decode("utf-8", "replace").strip()
                return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} …"
    return ""
