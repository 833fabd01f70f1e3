"""What every store of files owes, ours and Optuna's own; then what ours alone promises."""

import io
import os
import random
import signal
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import optuna
import pytest
import sqlalchemy as sa
from optuna.artifacts import FileSystemArtifactStore, download_artifact, upload_artifact
from optuna.artifacts._protocol import ArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from storage.artifacts.postgres import PART_BYTES, PostgresArtifactStore
from storage.artifacts.s3 import S3ArtifactStore, parse_s3
from storage.errors import ArtifactSizeError, StorageError
from storage.server.database import Database, connect, parse_url
from tests.conftest import CLI_SECONDS
from tests.forking.context import forked


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def study_id(database: Database) -> int:
    return optuna.create_study(storage=database.storage, study_name="one", load_if_exists=True)._study_id


@pytest.fixture
def ours(database: Database) -> PostgresArtifactStore:
    return PostgresArtifactStore(database.engine, study_id(database))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 that answers inside this process; needs boto3 and moto, which tests don't install."""
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto")
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "testing")
    with moto.mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="lilm")
        yield "lilm"


@pytest.fixture(params=["postgres", "folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "postgres":
        return request.getfixturevalue("ours")  # type: ignore[no-any-return]
    if request.param == "s3":
        return S3ArtifactStore(f"s3://{request.getfixturevalue('bucket')}/some/prefix")
    return FileSystemArtifactStore(tmp_path)


def read(store: ArtifactStore, name: str) -> bytes:
    with store.open_reader(name) as file:
        return file.read()


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 7])
def test_bytes_come_back_as_they_were(store: ArtifactStore, size: int) -> None:
    store.write("one", io.BytesIO(content(size)))
    store.write("other", io.BytesIO(b"another"))
    assert read(store, "one") == content(size)
    with store.open_reader("one") as file:
        pieces = iter(lambda: file.read(300_001), b"")
        assert b"".join(pieces) == content(size)


def test_what_is_not_there_is_said(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactNotFound):
        store.open_reader("nothing")


def test_writing_again_replaces(store: ArtifactStore) -> None:
    store.write("one", io.BytesIO(content(2 * PART_BYTES)))
    store.write("one", io.BytesIO(b"short"))
    assert read(store, "one") == b"short"


def test_what_is_removed_is_gone_and_the_rest_stays(store: ArtifactStore) -> None:
    store.write("one", io.BytesIO(content(PART_BYTES + 1)))
    store.write("other", io.BytesIO(b"another"))
    store.remove("one")
    with pytest.raises(ArtifactNotFound):
        store.open_reader("one")
    assert read(store, "other") == b"another"


@pytest.mark.parametrize("store", ["postgres", "s3"], indirect=True)
def test_files_are_listed_by_how_their_names_begin(store: PostgresArtifactStore | S3ArtifactStore) -> None:
    """Signs that mean something in patterns stand for themselves."""
    for name, size in {"a_%-1": 5, "a_%-2": PART_BYTES + 7, "ab%-3": 1, "b": 1, "a_%": 0}.items():
        store.write(name, io.BytesIO(content(size)))
    assert store.sizes("a_%-") == {"a_%-1": 5, "a_%-2": PART_BYTES + 7}
    assert store.sizes("nothing") == {}


def test_optunas_own_functions_work_on_it(store: ArtifactStore, database: Database, tmp_path: Path) -> None:
    study = optuna.create_study(storage=database.storage, study_name="two")
    source, target = tmp_path / "weights.pt", tmp_path / "back.pt"
    source.write_bytes(content(PART_BYTES + 5))
    name = upload_artifact(artifact_store=store, file_path=str(source), study_or_trial=study.ask())
    download_artifact(artifact_store=store, artifact_id=name, file_path=str(target))
    assert target.read_bytes() == source.read_bytes()


class Cut(io.BytesIO):
    """A file that breaks after two parts."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= 2 * PART_BYTES:
            raise OSError("the disk is gone")
        return super().read(size)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_write_that_breaks_changes_nothing(ours: PostgresArtifactStore, earlier: bool) -> None:
    if earlier:
        ours.write("one", io.BytesIO(b"the earlier one"))
    with pytest.raises(OSError, match="disk is gone"):
        ours.write("one", Cut(content(4 * PART_BYTES)))
    if earlier:
        assert read(ours, "one") == b"the earlier one"
    else:
        assert ours.sizes() == {}


def _write_for_ever(url: str, study: int, half_way: Any) -> None:
    class Endless(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 2 * PART_BYTES:
                half_way.set()
                signal.pause()
            return super().read(size)

    engine = sa.create_engine(parse_url(url))
    PostgresArtifactStore(engine, study).write("one", Endless(content(4 * PART_BYTES)))


def test_a_writer_that_is_killed_leaves_nothing(
    ours: PostgresArtifactStore, database: Database, database_url: str
) -> None:
    half_way = forked.Event()
    writer = forked.Process(target=_write_for_ever, args=(database_url, study_id(database), half_way))
    writer.start()
    assert half_way.wait(CLI_SECONDS)
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join(CLI_SECONDS)
    ours.write("one", io.BytesIO(b"written by another"))  # which waits until the server has noticed
    assert read(ours, "one") == b"written by another"


def test_no_file_is_ever_held_whole(ours: PostgresArtifactStore, tmp_path: Path) -> None:
    parts = 16
    path = tmp_path / "large"
    path.write_bytes(content(PART_BYTES) * parts)
    tracemalloc.start()
    try:
        with path.open("rb") as file:
            ours.write("large", file)
        with ours.open_reader("large") as file:
            total = sum(len(piece) for piece in iter(lambda: file.read(1 << 16), b""))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == parts * PART_BYTES
    assert peak < 10 * PART_BYTES  # a part, as bytes, as text of a statement, and on its way


def test_a_file_over_the_limit_is_refused_and_one_at_it_is_not(database: Database) -> None:
    store = PostgresArtifactStore(database.engine, study_id(database), most_bytes=2_000_000)
    store.write("fits", io.BytesIO(content(2_000_000)))
    with pytest.raises(ArtifactSizeError, match=r"larger than 2 MB.*`artifact_mb`"):
        store.write("too large", io.BytesIO(content(2_000_001)))
    assert store.sizes() == {"fits": 2_000_000}


def test_files_go_with_their_study_and_no_other(database: Database, ours: PostgresArtifactStore) -> None:
    other = optuna.create_study(storage=database.storage, study_name="other")
    theirs = PostgresArtifactStore(database.engine, other._study_id)
    ours.write("one", io.BytesIO(b"ours"))
    theirs.write("two", io.BytesIO(b"theirs"))
    assert read(ours, "two") == b"theirs"  # the dashboard has one store for all
    optuna.delete_study(study_name="one", storage=database.storage)
    assert theirs.sizes() == {"two": 6}
    with pytest.raises(ArtifactNotFound):
        ours.open_reader("one")


def test_half_a_file_never_passes_for_a_whole_one(ours: PostgresArtifactStore) -> None:
    ours.write("one", io.BytesIO(content(4 * PART_BYTES)))
    with ours.open_reader("one") as file:
        file.read(10)
        ours.remove("one")
        with pytest.raises(ArtifactNotFound):
            file.read()


def test_who_opens_for_reading_only_writes_nothing(database: Database) -> None:
    with pytest.raises(StorageError, match="reading only"):
        PostgresArtifactStore(database.engine, None).write("one", io.BytesIO(b"x"))


def test_a_role_without_the_right_to_delete(database: Database, ours: PostgresArtifactStore) -> None:
    """It may add files; one that it removes or replaces stays as it is."""
    role = f"adds_only_{os.getpid()}"
    with database.engine.begin() as connection:
        connection.execute(sa.text(f"CREATE ROLE {role}"))
        connection.execute(sa.text(f"GRANT SELECT, INSERT ON lilm_artifacts TO {role}"))
        connection.execute(sa.text(f"GRANT SELECT ON studies TO {role}"))
    engine = sa.create_engine(database.engine.url, connect_args={"options": f"-c role={role}"})
    theirs = PostgresArtifactStore(engine, study_id(database))
    try:
        theirs.write("one", io.BytesIO(b"first"))
        theirs.remove("one")
        with pytest.raises(StorageError, match="may not replace"):
            theirs.write("one", io.BytesIO(b"second"))
        assert read(ours, "one") == b"first"
        ours.remove("one")  # the owner may
    finally:
        engine.dispose()
        with database.engine.begin() as connection:
            connection.execute(sa.text(f"DROP OWNED BY {role}"))
            connection.execute(sa.text(f"DROP ROLE {role}"))


def test_a_write_through_a_cut_connection_is_nothing_or_all(database_url: str) -> None:
    """The server ends the writer's session half way: the next try, on a new connection, stores the file."""
    database = connect(database_url)
    store = PostgresArtifactStore(database.engine, study_id(database))

    class Ended(io.BytesIO):
        tries = 0

        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() == 2 * PART_BYTES and Ended.tries == 0:
                Ended.tries = 1
                _end_other_sessions(database_url)
            return super().read(size)

    def write() -> None:
        file: BinaryIO = Ended(content(3 * PART_BYTES))
        store.write("one", file)

    database.retrying(write, sleep=lambda seconds: None)
    assert read(store, "one") == content(3 * PART_BYTES)
    assert Ended.tries == 1
    database.close()


def _end_other_sessions(url: str) -> None:
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        ended = sa.text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert connection.execute(ended).scalars().all()


@pytest.mark.parametrize(
    ("url", "found"), [("s3://b", ("b", "")), ("s3://b/", ("b", "")), ("s3://b/a/c/", ("b", "a/c/"))]
)
def test_buckets(url: str, found: tuple[str, str]) -> None:
    assert parse_s3(url) == found


@pytest.mark.parametrize("url", ["s3:", "b/a", "https://b/a", "s3://key:secret@b/a", "s3://b/a?x=1"])
def test_what_is_no_bucket_is_refused_and_no_secret_repeated(url: str) -> None:
    with pytest.raises(StorageError, match="s3://BUCKET") as raised:
        parse_s3(url)
    assert "secret" not in str(raised.value)


def test_a_bucket_that_is_not_there_is_said(bucket: str) -> None:
    store = S3ArtifactStore("s3://no-such-bucket/x")
    with pytest.raises(StorageError, match=r"bucket no-such-bucket, but: .*AWS_ACCESS_KEY_ID"):
        store.write("one", io.BytesIO(b"x"))


def test_a_bucket_without_boto3_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from optuna.artifacts import _boto3

    class Missing:
        def check(self) -> None:
            raise ImportError("no boto3")

    monkeypatch.setattr(_boto3, "_imports", Missing())
    with pytest.raises(StorageError, match=r"lilm-search\[s3\]"):
        S3ArtifactStore("s3://b/a")
