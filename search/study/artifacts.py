"""A study's files: a confirmation run's weights, samples and record, the trace of an error, tokenizers.

They are linked to trials and studies so that optuna-dashboard offers them. No file is needed for the search to go on:
one that can't be stored is reported and left out.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, cast

import optuna
from optuna.artifacts import upload_artifact
from optuna.artifacts._protocol import ArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from search.common.errors import SearchError
from search.study.identity import study_names
from search.study.study import LinkedStudy, stored_plan
from storage.artifacts.postgres import MEGABYTE, PostgresArtifactStore
from storage.artifacts.s3 import S3ArtifactStore
from storage.errors import StorageError
from storage.server.database import Database

AT_PERCENT = "at_percent"
"""Key in a checkpoint's info: the progress at which it was saved, of a state before a run's end."""
_OF_TRIAL = "dashboard:"
"""Prefix of the study attributes that link a trial's files.

A finished trial takes no attributes; optuna-dashboard looks under this prefix too.
"""


def state_file(number: int, percent: object) -> str:
    """Return the name of the file of a confirmation run's weights at this progress, before its end."""
    return f"confirm-{number}-at-{percent}.pt"


def compiled_prefix(folder: str, kind: str) -> str:
    """Return how the names of a study's compiled graphs for machines of this kind begin."""
    return f"{folder}-compiled-{sha256(kind.encode()).hexdigest()[:16]}-"


StudyStore = PostgresArtifactStore | S3ArtifactStore
"""A store of a study's files."""


def study_artifacts(study: LinkedStudy) -> StudyStore:
    """Return the store of a study's files: its database, or the bucket that its study file names.

    Raises `StorageError` if the bucket's address is malformed or boto3 is missing.
    """
    workers = study.plan.workers
    if workers.artifacts:
        return S3ArtifactStore(workers.artifacts)
    most_bytes = int(workers.artifact_mb * MEGABYTE)
    return PostgresArtifactStore(study.database.engine, study.proxies._study_id, most_bytes=most_bytes)


class ReadArtifacts:
    """Read-only access to the files of all studies of a database, in every store that they use."""

    def __init__(self, database: Database) -> None:
        self._stores: list[ArtifactStore] = [PostgresArtifactStore(database.engine, None)]
        for url in sorted(_buckets(database)):
            with contextlib.suppress(StorageError):  # without boto3 the files in the database are still shown
                self._stores.append(S3ArtifactStore(url))

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Return the file, open for reading; raises `ArtifactNotFound`."""
        for store in self._stores:
            with contextlib.suppress(ArtifactNotFound):
                return store.open_reader(artifact_id)
        raise ArtifactNotFound(f"no study here has a file {artifact_id}")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Refuse: raises `StorageError`."""
        raise StorageError("files can't be added here: workers store them")

    def remove(self, artifact_id: str) -> None:
        """Refuse: raises `StorageError`."""
        raise StorageError("files can't be removed here: they are deleted with their study")


def _buckets(database: Database) -> set[str]:
    """Return the addresses of the buckets where studies keep files."""
    urls = set()
    for name in study_names(database):
        with contextlib.suppress(
            SearchError
        ):  # skip a plan of another version: the other studies' files are still shown
            urls.add(stored_plan(database, name).workers.artifacts)
    return urls - {""}


class _LinkRecorder:
    """Stands in for Optuna's storage during an upload, so that a file is linked only once it has been stored."""

    value = ""
    """The link that Optuna would have written."""

    def set_study_system_attr(self, study_id: int, key: str, value: str) -> None:
        self.value = value


def attach(study: LinkedStudy, part: optuna.Study, trial_id: int | None, path: Path) -> str:
    """Store a file, link it to a trial, finished or not, or to the study (None), and return the file's id.

    A trial keeps one file of each name, the first. It is safe to call again after a lost connection.
    """
    prefix = "artifacts:" if trial_id is None else f"{_OF_TRIAL}artifacts:{trial_id}:"
    for file in _linked(part._storage.get_study_system_attrs(part._study_id), prefix, trial_id):
        if file.filename == path.name:
            return file.artifact_id
    recorder = _LinkRecorder()
    artifact_id = upload_artifact(
        artifact_store=study_artifacts(study),
        file_path=str(path),
        study_or_trial=part,
        storage=cast(optuna.storages.BaseStorage, recorder),
        mimetype="text/plain; charset=utf-8" if path.suffix == ".txt" else "application/octet-stream",
    )
    study.database.storage.set_study_system_attr(part._study_id, prefix + artifact_id, recorder.value)
    return artifact_id


@dataclass(frozen=True)
class ArtifactFile:
    """A file of a study."""

    artifact_id: str
    filename: str
    trial: int | None
    """Number of its trial, or None for a file of the study itself."""


def artifact_files(part: optuna.Study) -> list[ArtifactFile]:
    """Return the files of an Optuna study, its own first, then those of its trials in their order."""
    stored = part._storage.get_study_system_attrs(part._study_id)
    linked = _linked(stored, "artifacts:", None)
    for trial in part.get_trials(deepcopy=False):
        linked += _linked(stored, f"{_OF_TRIAL}artifacts:{trial._trial_id}:", trial.number)
        linked += _linked(trial.system_attrs, "artifacts:", trial.number)  # uploaded with other tools while it ran
    return linked


def _linked(attrs: Mapping[str, Any], prefix: str, trial: int | None) -> list[ArtifactFile]:
    """Return the files linked by attributes with this prefix; a file removed in the dashboard leaves a null."""
    linked = [_file(value, trial) for key, value in attrs.items() if key.startswith(prefix)]
    return sorted(filter(None, linked), key=lambda file: file.filename)


def _file(value: Any, trial: int | None) -> ArtifactFile | None:
    """Return the file that an attribute links; None if it is malformed, since a worker may write anything there."""
    try:
        meta = json.loads(value)
        return ArtifactFile(str(meta["artifact_id"]), str(meta["filename"]), trial)
    except (TypeError, ValueError, LookupError, RecursionError):
        return None
