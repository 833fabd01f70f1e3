"""A study's files in S3, with Optuna's own store; credentials come from boto3's environment, not from a study file."""

import contextlib
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import urlsplit

from optuna.artifacts import Boto3ArtifactStore

from storage.errors import StorageError

FORM = "s3://BUCKET or s3://BUCKET/PREFIX"


class S3ArtifactStore:
    """Files under a prefix of a bucket; as `artifacts.postgres`, but a missing file may be removed without an error."""

    def __init__(self, url: str) -> None:
        self._bucket, self._prefix = parse_s3(url)
        try:
            # Without a copy in memory: weights may be large.
            self._store = Boto3ArtifactStore(self._bucket, avoid_buf_copy=True)
        except ImportError:
            raise StorageError(
                f"files are kept in {url}, but boto3 is missing: python -m pip install 'lilm-search[s3]'"
            ) from None

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Return the file, open for reading; raises `ArtifactNotFound`."""
        with self._explained():
            return self._store.open_reader(self._prefix + artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store the file, whole or not at all."""
        with self._explained():
            self._store.write(self._prefix + artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        """Delete the file; S3 does not say whether it was there."""
        with self._explained():
            self._store.remove(self._prefix + artifact_id)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the size in bytes of each file whose id begins so, by its id; needs the right to list the bucket."""
        with self._explained():
            pages = self._store.client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            found = [file for page in pages for file in page.get("Contents", [])]
        return {file["Key"].removeprefix(self._prefix): int(file["Size"]) for file in found}

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise `StorageError` if S3 refuses a call or can't be reached."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError) as error:
            raise StorageError(
                f"files are kept in the bucket {self._bucket}, but: {error}. Access is settled by the environment: "
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL"
            ) from None


def parse_s3(url: str) -> tuple[str, str]:
    """Return bucket and prefix, which is empty or ends with a slash; raises `StorageError` for any other URL."""
    parts = urlsplit(url)
    plain = not (parts.query or parts.fragment or "@" in parts.netloc or ":" in parts.netloc)
    if parts.scheme != "s3" or not parts.netloc or not plain:
        raise StorageError(f"files are to be kept in {parts.scheme}://{parts.hostname or ''}…, but it must be {FORM}")
    prefix = parts.path.strip("/")
    return parts.netloc, f"{prefix}/" if prefix else ""
