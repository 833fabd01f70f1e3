"""Troubles of a machine that would work on a study."""

import io
import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
import torch

from model.network.compiled_files import machine_kind
from search.doctor.finding import Finding
from search.doctor.study import examine, of_hardware
from search.machine.admission import ATTRIBUTE
from search.machine.hardware import Hardware
from search.study.artifacts import compiled_prefix, study_artifacts
from search.study.cost import registry_of
from search.study.plan import Plan
from search.study.study import LinkedStudy, open_study
from storage.errors import UnreachableError
from storage.queue.trial_queue import Claim
from storage.server.database import Database
from tests.search.conftest import Typed
from tests.search.tiny import PLAN

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
CARD = Hardware(kind="cuda", name="NVIDIA GeForce RTX 4090", memory_gib=24, reference_tokens_per_second=100_000)


def cpu() -> torch.device:
    return torch.device("cpu")


def told(database: Database, name: str) -> dict[str, Finding]:
    def opening() -> AbstractContextManager[Database]:
        return nullcontext(database)

    return {f.name: f for f in examine(opening, name, cpu)}


@pytest.fixture
def study(database: Database, tmp_path: Path) -> LinkedStudy:
    (tmp_path / "a.txt").write_text("a line of text\n" * 200)
    text = PLAN.replace('"builtin"', f'"{tmp_path}/a.txt"') + "[cost]\nusd_per_gpu_hour = 0.5\nmax_usd = 2.0\n"
    return open_study(database, Plan.parse(text, name="tiny", origin="a test"))


def test_one_that_may_work_here(database: Database, study: LinkedStudy) -> None:
    found = told(database, "tiny")
    assert {name: f.state for name, f in found.items()} == dict.fromkeys(("study", "hardware", "cost", "data"), "ok")


def test_compiled_graphs_of_others_are_counted_where_there_is_a_key(
    database: Database, study: LinkedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = compiled_prefix(study.folder, machine_kind(cpu()))
    study_artifacts(study).write(f"{name}1", io.BytesIO(bytes(1_500_000)))
    study_artifacts(study).write(compiled_prefix(study.folder, "another kind"), io.BytesIO(bytes(10)))
    assert "compiled" not in told(database, "tiny")
    monkeypatch.setenv("LILM_SEARCH_COMPILED_KEY", "0123456789abcdef" * 2)
    assert told(database, "tiny")["compiled"].found.startswith("1 archive of compiled graphs, 1.5 MB, for this kind")
    monkeypatch.setenv("LILM_SEARCH_COMPILED_KEY", "short")
    assert told(database, "tiny")["compiled"].state == "BAD"


def test_one_in_float8_is_not_for_a_cpu(database: Database, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a line of text\n" * 200)
    text = PLAN.replace('"builtin"', f'"{tmp_path}/a.txt"').replace("[space]", '[train]\nprecision = "float8"\n[space]')
    open_study(database, Plan.parse(text, name="tiny", origin="a test"))
    hardware = told(database, "tiny")["hardware"]
    assert (hardware.state, "only GPUs multiply in it" in hardware.found) == ("BAD", True)


def test_one_that_is_not_there(database: Database, tmp_path: Path) -> None:
    missing = told(database, "nowhere")["study"]
    assert (missing.state, 'no study file is named "nowhere"' in missing.found) == ("BAD", True)
    file = tmp_path / "mine.toml"
    file.write_text(PLAN.replace('"builtin"', '"gone.txt"'))
    found = told(database, str(file))
    assert (found["study"].state, found["study"].cure) == ("note", f"lilm-search start --study {file}")
    assert (found["data"].state, "no file matches" in found["data"].found) == ("BAD", True)
    assert told(database, "BAD NAME")["study"].state == "BAD"


def test_a_plan_of_a_newer_version(database: Database, study: LinkedStudy) -> None:
    plan = study.proxies.user_attrs["plan"].replace("[model]", "[model]\nyet_unknown = 3")
    study.proxies.set_user_attr("plan", plan)
    found = told(database, "tiny")["study"]
    assert (found.state, "yet_unknown" in found.found, "upgrade" in found.cure) == ("BAD", True, True)


def test_hardware_that_is_not_the_studys(database: Database, study: LinkedStudy) -> None:
    study.proxies.set_user_attr(ATTRIBUTE, json.dumps(CARD.table()))
    found = told(database, "tiny")["hardware"]
    assert (found.state, "is not the study's NVIDIA GeForce RTX 4090" in found.found) == ("BAD", True)


def test_slow_hardware_is_to_be_cooled_and_mixed_hardware_is_scaled() -> None:
    slow = replace(CARD, reference_tokens_per_second=70_000)
    found = of_hardware(CARD, slow, mixed=False)
    assert (found.state, "70% of the study's" in found.found, "Let it cool" in found.cure) == ("BAD", True, True)
    mixed = of_hardware(CARD, slow, mixed=True)
    assert (mixed.state, "× 1.43" in mixed.found) == ("ok", True)
    assert of_hardware(CARD, CARD, mixed=False).state == "ok"


def test_a_cap_that_is_reached(database: Database, study: LinkedStudy) -> None:
    registry_of(study).register("one", machine="m", device="GPU", usd_per_hour=100.0)
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE lilm_workers SET started = now() - interval '1 hour'"))
    assert isinstance(study.proxy_queue.claim("one", 7), Claim)
    found = told(database, "tiny")["cost"]
    assert (found.state, "ost cap: $100" in found.found) == ("BAD", True)
    assert "--max-usd N" in found.cure


def test_a_database_that_is_away_is_told_once(database: Database) -> None:
    def away() -> AbstractContextManager[Database]:
        raise UnreachableError("h can't be reached")

    (found,) = examine(away, "tiny", cpu)
    assert found.state == "note"


def test_the_command_tells_all_and_ends_with_1(
    database_url: str, study: LinkedStudy, typed: Typed, monkeypatch: pytest.MonkeyPatch, fresh_home: Path
) -> None:
    monkeypatch.setenv("LILM_SEARCH_STORAGE", database_url)
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = typed("doctor", "--study", "tiny", "--data", "/no/such.txt")
    assert code == 1
    assert out.startswith("BAD  data")
    assert "1 problem" in out.splitlines()[-1]
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = typed("doctor", "--study", "tiny", "--json")
    read = json.loads(out)
    assert (code == 0) is read["well"]
    assert {"torch", "database", "disk", "memory", "study", "hardware"} <= {f["name"] for f in read["findings"]}
