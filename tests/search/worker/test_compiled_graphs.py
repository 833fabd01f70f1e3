"""Compiled graphs that travel with a study's files: between machines, in a real database, signed."""

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import sqlalchemy as sa
import torch
from optuna.trial import TrialState

from model.network.compiled_files import CACHE_DIR
from model.training.compiling import missing_compiler
from search.cloud.credentials import issue, worker_url
from search.study.artifacts import StudyStore, compiled_prefix, study_artifacts
from search.study.study import LinkedStudy, load_study
from search.worker import compiled_graphs
from search.worker.compiled_graphs import CompiledGraphs
from storage.artifacts.postgres import PostgresArtifactStore
from storage.server.database import Database, connect
from tests.search.worker.test_outages import ONE_PROXY, Simulated, opened, worker

CPU = torch.device("cpu")
KEY, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
EACH = {"one": "of the first", "sub/two": "of the second" * 1000}

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture
def study(database: Database) -> LinkedStudy:
    return opened(database)


class Machine:
    """A machine with a folder of its own for what torch compiles, in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.lines, self._patch = folder, list[str](), monkeypatch
        folder.mkdir()

    def graphs(self, study: LinkedStudy, key: str = KEY, **options: Any) -> CompiledGraphs:
        self._patch.setenv(CACHE_DIR, str(self.folder))
        store = options.pop("store", None) or study_artifacts(study)
        options = {"settled_seconds": 0.0, **options}
        return CompiledGraphs(store, study.folder, key, CPU, self.lines.append, lambda: False, **options)

    def shares(self, study: LinkedStudy, files: dict[str, str], key: str = KEY, **options: Any) -> None:
        """Store these files as compiled by one worker."""
        with self.graphs(study, key, **options) as graphs:
            self.write(files)
            graphs.share()

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def files(self) -> dict[str, str]:
        return {p.relative_to(self.folder).as_posix(): p.read_text() for p in self.folder.rglob("*") if p.is_file()}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Machine]:
    return lambda name: Machine(tmp_path / name, monkeypatch)


def archives(study: LinkedStudy) -> dict[str, int]:
    return study_artifacts(study).sizes(f"{study.folder}-compiled-")


COMPILES = """
import json, sys
import torch
from torch._dynamo.utils import counters
from model.network.device import maybe_compiled
from model.network.compiled_files import compiled_files
from search.study.artifacts import study_artifacts
from search.study.study import load_study
from search.worker.compiled_graphs import CompiledGraphs
from storage.server.database import connect

torch.set_num_threads(1)
database, cpu, lines = connect(sys.argv[1]), torch.device("cpu"), []
study = load_study(database, "tiny")
with CompiledGraphs(study_artifacts(study), study.folder, sys.argv[2], cpu, lines.append, lambda: False,
                    settled_seconds=0.0) as graphs:
    graphs.fetch()
    fetched = compiled_files(cpu, 0.0)
    x = torch.linspace(-1, 1, 32).reshape(4, 8)
    weight = torch.linspace(1, -1, 64).reshape(8, 8).requires_grad_()
    loss = maybe_compiled(lambda x, w: torch.nn.functional.gelu(x @ w).square().sum(), True)(x, weight)
    loss.backward()
    graphs.share()
hits, misses = (counters["aot_autograd"][f"autograd_cache_{kind}"] for kind in ("hit", "miss"))
new = len(compiled_files(cpu, 0.0) - fetched)
print(json.dumps({"hits": hits, "misses": misses, "fetched": len(fetched), "new": new, "lines": lines,
                  "loss": loss.item(), "gradient": weight.grad.tolist()}))
"""


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_compiler(CPU)), reason="needs a C++ compiler")
def test_graphs_compiled_on_one_machine_are_not_compiled_on_another(
    study: LinkedStudy, database_url: str, tmp_path: Path
) -> None:
    """Two processes with empty folders and real compilation; the second one compiles nothing and computes the same."""
    found = []
    for name in ("one", "two"):
        environment = {**os.environ, CACHE_DIR: str(tmp_path / name), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        command = [sys.executable, "-c", COMPILES, database_url, KEY]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.stdout, done.stderr[-2000:]
        found.append(json.loads(done.stdout.splitlines()[-1]))
    first, second = found
    assert (first["hits"], first["misses"], first["fetched"]) == (0, 1, 0)
    assert (second["hits"], second["misses"], second["new"]) == (1, 0, 0)
    assert second["fetched"] == first["new"] > 0
    assert (second["loss"], second["gradient"]) == (first["loss"], first["gradient"])
    assert re.fullmatch(r"compiled graphs: \d+ files \(0\.\d MB\) stored for other workers", first["lines"][0])
    (fetched,) = second["lines"]  # compiled for other instructions, the same graphs have other sizes
    assert re.fullmatch(r"compiled graphs: 1 archive of other workers \(0\.\d MB\) from the study's files", fetched)
    assert len(archives(study)) == 1


def test_graphs_of_two_workers_lie_side_by_side(study: LinkedStudy, machine: Callable[[str], Machine]) -> None:
    """Neither loses the other's, though both began with nothing, and what was fetched is not stored again."""
    one, two, three = machine("one"), machine("two"), machine("three")
    one.shares(study, {"a": "one's"})
    two.shares(study, {"b": "two's"})
    with three.graphs(study) as graphs:
        graphs.fetch()
        graphs.share()
    assert three.files() == {"a": "one's", "b": "two's"}
    assert len(archives(study)) == 2


def test_a_rented_machine_shares_by_its_credential(
    database: Database, study: LinkedStudy, machine: Callable[[str], Machine]
) -> None:
    """Its role may read and add files of its study; it needs to change and delete none."""
    machine("one").shares(study, {"a": "the owner's"})
    issued = issue(database, "tiny", "box-1", "1h")
    rented = connect(worker_url(database.engine.url, issued, None).render_as_string(hide_password=False))
    two, three = machine("two"), machine("three")
    with two.graphs(load_study(rented, "tiny")) as graphs:
        graphs.fetch()
        two.write({"b": "the rented one's"})
        graphs.share()
    rented.close()
    three.graphs(study).fetch()
    assert three.files() == {"a": "the owner's", "b": "the rented one's"}
    assert [line.partition(":")[0] for line in two.lines] == ["compiled graphs"] * 2


def test_a_file_that_is_there_stays(study: LinkedStudy, machine: Callable[[str], Machine]) -> None:
    one, two = machine("one"), machine("two")
    one.shares(study, EACH)
    two.write({"one": "its own"})
    two.graphs(study).fetch()
    assert two.files() == {**EACH, "one": "its own"}


def test_the_same_graphs_are_stored_once(study: LinkedStudy, machine: Callable[[str], Machine]) -> None:
    for name in ("one", "two"):
        machine(name).shares(study, EACH)
    assert len(archives(study)) == 1


def test_what_a_failed_run_compiled_is_not_stored(study: LinkedStudy, machine: Callable[[str], Machine]) -> None:
    one = machine("one")
    with one.graphs(study) as graphs:
        one.write({"broken": "library"})
        graphs.pass_over()
        one.write({"good": "library"})
        graphs.share()
    two = machine("two")
    two.graphs(study).fetch()
    assert two.files() == {"good": "library"}


def test_what_others_compile_is_looked_for_again(study: LinkedStudy, machine: Callable[[str], Machine]) -> None:
    now = 0.0
    two = machine("two")
    graphs = two.graphs(study, clock=lambda: now)
    graphs.fetch()
    machine("one").shares(study, {"a": "later"})
    two.graphs(study)  # the folder is this machine's again
    graphs.fetch()
    assert two.files() == {}
    now = compiled_graphs.FETCH_EVERY_SECONDS
    graphs.fetch()
    assert two.files() == {"a": "later"}


def test_graphs_of_another_kind_of_machine_are_not_fetched(
    study: LinkedStudy, machine: Callable[[str], Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = machine("one"), machine("two")
    one.shares(study, EACH)
    monkeypatch.setattr(compiled_graphs, "machine_kind", lambda device: "torch 9.9")
    two.graphs(study).fetch()
    assert (two.files(), two.lines) == ({}, [])


def forge(study: LinkedStudy, change: Callable[[bytes], bytes]) -> None:
    """Change the one archive behind its name, as whoever may write the study's files can."""
    store, (name,) = study_artifacts(study), archives(study)
    with store.open_reader(name) as file:
        content = change(file.read())
    with study.database.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM lilm_artifacts WHERE artifact_id = :name"), {"name": name})
    store.write(name, io.BytesIO(content))


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "a byte of the content": lambda file: file[:-1] + bytes([file[-1] ^ 1]),
    "a byte of the signature": lambda file: bytes([file[0] ^ 1]) + file[1:],
    "no signature": lambda file: file[32:],
    "cut short": lambda file: file[:20],
    "empty": lambda file: b"",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_archive_is_refused_and_left(
    study: LinkedStudy,
    machine: Callable[[str], Machine],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[bytes], bytes],
) -> None:
    """Nothing unpacks it, a sentence says so, and who compiles the same doesn't write over it."""
    machine("one").shares(study, EACH)
    forge(study, change)
    before, two = archives(study), machine("two")
    monkeypatch.setattr(compiled_graphs, "unpack", lambda archive: pytest.fail("unpacked"))
    with two.graphs(study) as graphs:
        graphs.fetch()
        two.write(EACH)
        graphs.share()
    assert len(two.lines) == 1
    assert (
        "1 archive of compiled graphs in the study's files not used: not signed with this worker's key" in two.lines[0]
    )
    assert archives(study) == before


def test_an_archive_of_another_key_is_refused(study: LinkedStudy, machine: Callable[[str], Machine]) -> None:
    one, two = machine("one"), machine("two")
    one.shares(study, EACH, OTHER)
    two.graphs(study).fetch()
    assert two.files() == {}
    assert [line.partition(":")[0] for line in two.lines] == ["warning"]


def test_a_signed_archive_under_the_name_of_another_kind_is_refused(
    study: LinkedStudy, machine: Callable[[str], Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is right for one kind of machine may crash another."""
    one, two = machine("one"), machine("two")
    one.shares(study, EACH)
    (name,), store = archives(study), study_artifacts(study)
    monkeypatch.setattr(compiled_graphs, "machine_kind", lambda device: "torch 9.9")
    with store.open_reader(name) as file:
        store.write(compiled_prefix(study.folder, "torch 9.9") + "0" * 32, file)
    two.graphs(study).fetch()
    assert two.files() == {}
    assert len(two.lines) == 1


class Away(PostgresArtifactStore):
    """A store that doesn't answer."""

    def sizes(self, prefix: str = "") -> dict[str, int]:
        raise OSError("no route to host")


def test_a_store_that_is_away_is_a_note(study: LinkedStudy, machine: Callable[[str], Machine]) -> None:
    one = machine("one")
    away: StudyStore = Away(study.database.engine, study.proxies._study_id)
    with one.graphs(study, store=away) as graphs:
        graphs.fetch()
        one.write(EACH)
        graphs.share()
    assert one.lines == [
        "note: compiled graphs can't be fetched: no route to host",
        "note: compiled graphs can't be stored: no route to host",
    ]


class Unsteady(PostgresArtifactStore):
    """A store that fails at the first file that it is asked to write, and at the first that it is asked for."""

    def __init__(self, study: LinkedStudy) -> None:
        super().__init__(study.database.engine, study.proxies._study_id)
        self.failing = {"read", "write"}

    def fail_once(self, what: str) -> None:
        if what in self.failing:
            self.failing.remove(what)
            raise OSError("connection reset")

    def open_reader(self, artifact_id: str) -> BinaryIO:
        self.fail_once("read")
        return super().open_reader(artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self.fail_once("write")
        super().write(artifact_id, content_body)


def test_what_an_outage_cut_off_is_tried_again(study: LinkedStudy, machine: Callable[[str], Machine]) -> None:
    one, two, unsteady = machine("one"), machine("two"), Unsteady(study)
    with one.graphs(study, store=unsteady) as graphs:
        one.write({"a": "text"})
        graphs.share()
        graphs.share()
    assert [line.partition(":")[0] for line in one.lines] == ["note", "compiled graphs"]
    now = iter([0.0, 0.0, 0.0, 100.0, 100.0])
    graphs = two.graphs(study, store=unsteady, clock=lambda: next(now))
    graphs.fetch()
    assert two.files() == {}
    graphs.fetch()
    assert two.files() == {"a": "text"}


@pytest.mark.parametrize("limit", ["MOST_BYTES", "MOST_BYTES_OF_KIND"])
def test_what_is_too_large_is_neither_stored_nor_read(
    study: LinkedStudy, machine: Callable[[str], Machine], monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    one, two, three = machine("one"), machine("two"), machine("three")
    one.shares(study, EACH)
    monkeypatch.setattr(compiled_graphs, limit, 100)
    two.shares(study, {"another": "file"})
    three.graphs(study).fetch()
    assert two.lines[0].startswith("note: compiled graphs can't be stored: ")
    assert (len(archives(study)), three.files()) == (1, {})


def work(study: LinkedStudy, one: Machine, key: str | None, files: dict[str, str]) -> str:
    """Have a worker train one trial that compiles these files; returns what it says."""
    one.graphs(study)  # sets this machine's folder
    lines = list[str]()

    def at(percent: int) -> None:
        one.write(files)
        for name in files:  # compiled a minute ago
            os.utime(one.folder / name, (time.time() - 60, time.time() - 60))

    worker(study, Simulated(at), lines, compiled_key=key).run()
    return "\n".join(lines)


def test_workers_share_by_their_key_and_none_is_written_anywhere(
    database: Database, home: Path, machine: Callable[[str], Machine]
) -> None:
    """Real workers on one database: with the key, with another, without one; all of them train their trial."""
    said = []
    for number, key in enumerate([KEY, KEY, OTHER, None]):
        one = machine(f"m{number}")
        study = opened(database, ONE_PROXY.replace("trials = 1", f"trials = {number + 1}"))
        said.append(work(study, one, key, {f"by-{number}": str(number)}))
        expected = {f"by-{n}" for n in range(2) if n <= number} if key == KEY else {f"by-{number}"}
        assert set(one.files()) == expected
    assert "compiled graphs: 1 file (0.0 MB) stored for other workers" in said[0]
    assert "compiled graphs: 1 archive of other workers (0.0 MB) from the study's files" in said[1]
    assert "warning: 2 archives of compiled graphs in the study's files not used" in said[2]
    assert "compiled graphs" not in said[3]
    assert [t.state for t in study.proxy_trials()] == [TrialState.COMPLETE] * 4
    assert len(archives(study)) == 3
    everything = "\n".join([*said, _dump(database)]).encode()
    everything += b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    for key in (KEY, OTHER):
        assert key.encode() not in everything
        assert key.encode().hex().encode() not in everything  # as bytes are written in a dump


def _dump(database: Database) -> str:
    """Return all that the database holds, as text."""
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    with database.engine.connect() as connection:
        names = connection.execute(sa.text(tables)).scalars().all()
        rows = [connection.execute(sa.text(f'SELECT t::text FROM "{name}" t')).scalars().all() for name in names]
    return "\n".join(str(row) for of_table in rows for row in of_table)
