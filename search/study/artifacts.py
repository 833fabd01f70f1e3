"""A study's files: a confirmation run's weights, samples and record, the trace of an error, tokenizers.

They hang on trials and studies where optuna-dashboard offers them. None of them is needed to go on: what can't be
stored is said and left out.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import optuna
from optuna.artifacts import upload_artifact
from optuna.artifacts._protocol import ArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from search.common.errors import SearchError
from search.study.identity import names
from search.study.study import LinkedStudy, stored_plan
from storage.artifacts.postgres import MEGABYTE, PostgresArtifactStore
from storage.artifacts.s3 import S3ArtifactStore
from storage.errors import StorageError
from storage.server.database import Database

_OF_TRIAL = "dashboard:"
"""A finished trial takes no attributes: optuna-dashboard finds its files among the study's, under this prefix too."""


def study_artifacts(study: LinkedStudy) -> ArtifactStore:
    """Return the store of a study's files: its database, or the bucket that its file names.

    Raises `StorageError` where that is misspelt or boto3 is missing.
    """
    workers = study.plan.workers
    if workers.artifacts:
        return S3ArtifactStore(workers.artifacts)
    most_bytes = int(workers.artifact_mb * MEGABYTE)
    return PostgresArtifactStore(study.database.engine, study.proxies._study_id, most_bytes=most_bytes)


class ReadArtifacts:
    """The files of all studies of a database, wherever they are kept, to be read only."""

    def __init__(self, database: Database) -> None:
        self._stores: list[ArtifactStore] = [PostgresArtifactStore(database.engine, None)]
        for url in sorted(_buckets(database)):
            with contextlib.suppress(StorageError):  # no boto3 here: the other files are shown all the same
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
    """Return where studies keep files outside the database."""
    found = set()
    for name in names(database):
        with contextlib.suppress(SearchError):  # a study of another version still has files
            found.add(stored_plan(database, name).workers.artifacts)
    return found - {""}


class _Noted:
    """Stands for Optuna's storage while a file is uploaded, so that a file is linked only once it is there."""

    value = ""

    def set_study_system_attr(self, study_id: int, key: str, value: str) -> None:
        self.value = value


def attach(study: LinkedStudy, part: optuna.Study, trial_id: int | None, path: Path) -> str:
    """Store a file and link it with a trial, finished or not, or with the study (None); returns the file's id.

    A trial keeps one file of each name: the first. May be called again after a lost connection.
    """
    prefix = "artifacts:" if trial_id is None else f"{_OF_TRIAL}artifacts:{trial_id}:"
    for there in _linked(part._storage.get_study_system_attrs(part._study_id), prefix, trial_id):
        if there.filename == path.name:
            return there.artifact_id
    noted = _Noted()
    store = cast(optuna.storages.BaseStorage, noted)
    found = upload_artifact(
        artifact_store=study_artifacts(study),
        file_path=str(path),
        study_or_trial=part,
        storage=store,
        mimetype="text/plain; charset=utf-8" if path.suffix == ".txt" else "application/octet-stream",
    )
    study.database.storage.set_study_system_attr(part._study_id, prefix + found, noted.value)
    return found


@dataclass(frozen=True)
class File:
    """A file of a study."""

    artifact_id: str
    filename: str
    trial: int | None
    """Number of its trial, or None for a file of the study itself."""


def files(part: optuna.Study) -> list[File]:
    """Return the files of an Optuna study, its own first, then those of its trials in their order."""
    stored = part._storage.get_study_system_attrs(part._study_id)
    found = _linked(stored, "artifacts:", None)
    for trial in part.get_trials(deepcopy=False):
        found += _linked(stored, f"{_OF_TRIAL}artifacts:{trial._trial_id}:", trial.number)
        found += _linked(trial.system_attrs, "artifacts:", trial.number)  # what others have uploaded while it ran
    return found


def _linked(attrs: Mapping[str, Any], prefix: str, trial: int | None) -> list[File]:
    """Return the files that attributes with this prefix link; a file removed in the dashboard leaves a null."""
    linked = [_file(value, trial) for key, value in attrs.items() if key.startswith(prefix)]
    return sorted(filter(None, linked), key=lambda file: file.filename)


def _file(value: Any, trial: int | None) -> File | None:
    """Return the file that an attribute links; a worker may have written anything there."""
    try:
        meta = json.loads(value)
        return File(str(meta["artifact_id"]), str(meta["filename"]), trial)
    except (TypeError, ValueError, LookupError, RecursionError):
        return None
