"""A study's files in its own database: an Optuna artifact store for small files, such as weights and samples.

The contract, as for Optuna's own stores: a file exists whole or not at all, even if a connection breaks; its bytes come
back unchanged; writing under the same name replaces the file; reading one that doesn't exist raises
`ArtifactNotFound`. Files are moved in parts, so that neither client nor server ever holds a whole one.
"""

import io
from typing import Any, BinaryIO, cast

import psycopg2
import sqlalchemy as sa
from optuna.artifacts.exceptions import ArtifactNotFound
from sqlalchemy import exc

from storage.errors import ArtifactSizeError, StorageError
from storage.server.tables import artifacts

PART_BYTES = 1 << 20
MEGABYTE = 10**6

# Number of a file's parts; 0 if it doesn't exist.
COUNT = sa.text("SELECT count(*) FROM lilm_artifacts WHERE artifact_id = :artifact_id")
PART = sa.text("SELECT content FROM lilm_artifacts WHERE artifact_id = :artifact_id AND part = :part")
DELETE = sa.text("DELETE FROM lilm_artifacts WHERE artifact_id = :artifact_id")

# The bytes of each file that is deleted with a study.
SIZES = sa.text(
    "SELECT artifact_id, sum(octet_length(content)) FROM lilm_artifacts "
    "WHERE study_id = :study_id AND starts_with(artifact_id, :prefix) GROUP BY artifact_id"
)


class PostgresArtifactStore:
    """Files in the table lilm_artifacts, for `optuna.artifacts` and optuna-dashboard.

    Args:
        engine: engine of the study's database.
        study_id: id of the Optuna study, with which the files written here are deleted; None: for reading only.
            Files of any study can be read: their names are unique.
        most_bytes: size of the largest file allowed; None: any.

    """

    def __init__(self, engine: sa.Engine, study_id: int | None, *, most_bytes: int | None = None) -> None:
        self._engine, self._study_id, self._most_bytes = engine, study_id, most_bytes

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Return the file, open for reading; raises `ArtifactNotFound`."""
        with self._engine.connect() as connection:
            parts = connection.execute(COUNT, {"artifact_id": artifact_id}).scalar_one()
        if not parts:
            raise _not_found(artifact_id)
        return cast(BinaryIO, io.BufferedReader(_Parts(self._engine, artifact_id, parts), PART_BYTES))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store the file, in one transaction.

        Raises `ArtifactSizeError` if it is too large, `StorageError` if the user may not replace an earlier one.
        """
        if self._study_id is None:
            raise StorageError(f"the file {artifact_id} can't be written: these files are opened for reading only")
        with self._engine.begin() as connection:
            if connection.execute(COUNT, {"artifact_id": artifact_id}).scalar_one():
                self._delete_earlier(connection, artifact_id)
            part, size = 0, 0
            while (content := content_body.read(PART_BYTES)) or part == 0:  # an empty file has one, empty, part
                size += len(content)
                self._check_size(size)
                row = {"artifact_id": artifact_id, "part": part, "content": content}
                connection.execute(sa.insert(artifacts).values(study_id=self._study_id, **row))
                part += 1

    def remove(self, artifact_id: str) -> None:
        """Delete the file; raises `ArtifactNotFound`.

        A worker's role may not delete: it gets no error, and the file stays until its study is deleted.
        """
        try:
            with self._engine.begin() as connection:
                if not connection.execute(DELETE, {"artifact_id": artifact_id}).rowcount:
                    raise _not_found(artifact_id)
        except exc.ProgrammingError as error:
            if not _is_denied(error):
                raise

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the size in bytes of each file of the study whose id begins so, by its id."""
        with self._engine.connect() as connection:
            found = connection.execute(SIZES, {"study_id": self._study_id, "prefix": prefix})
            return {name: int(size) for name, size in found}

    def _delete_earlier(self, connection: sa.Connection, artifact_id: str) -> None:
        try:
            connection.execute(DELETE, {"artifact_id": artifact_id})
        except exc.ProgrammingError as error:
            if not _is_denied(error):
                raise
            raise StorageError(f"the file {artifact_id} is there already, and this user may not replace it") from None

    def _check_size(self, size: int) -> None:
        if self._most_bytes is not None and size > self._most_bytes:
            raise ArtifactSizeError(
                f"the file is larger than {self._most_bytes / MEGABYTE:g} MB, the most that is kept in the database: "
                'raise `artifact_mb` in [workers], or keep files elsewhere (artifacts = "s3://BUCKET/PREFIX")'
            )


class _Parts(io.RawIOBase):
    """A file's bytes, part by part; no connection is held between two parts."""

    def __init__(self, engine: sa.Engine, artifact_id: str, parts: int) -> None:
        super().__init__()
        self._engine, self._artifact_id, self._parts = engine, artifact_id, parts
        self._next, self._unread = 0, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._unread and self._next < self._parts:
            self._unread = memoryview(self._fetch(self._next))
            self._next += 1
        count = min(len(buffer), len(self._unread))
        buffer[:count] = self._unread[:count]
        self._unread = self._unread[count:]
        return count

    def _fetch(self, part: int) -> bytes:
        with self._engine.connect() as connection:
            content = connection.execute(PART, {"artifact_id": self._artifact_id, "part": part}).scalar()
        if content is None:  # removed meanwhile: a part must not pass for the whole file
            raise _not_found(self._artifact_id)
        return bytes(content)


def _not_found(artifact_id: str) -> ArtifactNotFound:
    return ArtifactNotFound(f"no file {artifact_id} is kept in the database")


def _is_denied(error: exc.DBAPIError) -> bool:
    return isinstance(error.orig, psycopg2.errors.InsufficientPrivilege)
