"""What a study's winner writes on from the standard prompts, as it was stored with its runs."""

import contextlib

from optuna.artifacts.exceptions import ArtifactNotFound

from search.analysis.snapshot import Snapshot
from search.study.artifacts import artifact_files, study_artifacts
from search.study.study import LinkedStudy
from storage.errors import StorageError

MOST_CHARACTERS = 6000


def winners_samples(study: LinkedStudy, facts: Snapshot) -> str:
    """Return the samples of the best configuration's first run that has any; empty where none are stored."""
    if not facts.confirmed:
        return ""
    wanted = {f"samples-{run.number}.txt" for run in facts.confirmed[0].runs}
    with contextlib.suppress(ArtifactNotFound, StorageError, OSError):
        for file in artifact_files(study.confirmations):
            if file.filename in wanted:
                with study_artifacts(study).open_reader(file.artifact_id) as source:
                    text = source.read(4 * MOST_CHARACTERS).decode("utf-8", "replace").strip()
                return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} …"
    return ""
