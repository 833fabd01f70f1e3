"""Launching with a SkyPilot of our own making, which notes what it is asked for; the server and its roles are real."""

import io
import json
import re
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from rich.console import Console

from search.cloud.fleet_table import fleet
from search.cloud.launch import Asked, launch, text
from search.cloud.skypilot import SkyPilot, find_sky
from search.cloud.teardown import take_down
from search.common.errors import SearchError
from search.study.cost import registry_of
from search.study.plan import Plan
from search.study.study import LinkedStudy, load_study, open_study
from storage.access.roles import listed
from storage.errors import StorageError
from storage.queue.trial_queue import Claim
from storage.server.address import write_secret
from storage.server.database import Database, parse_url
from tests.conftest import run_cli
from tests.search.cloud.rented_machine import RentedMachine
from tests.search.tiny import PLAN

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
SKY = """
import json, os, pathlib, sys
place = pathlib.Path({place!r})
def note(**what):
    with (place / "asked").open("a") as file:
        file.write(json.dumps(what) + chr(10))
command, *rest = sys.argv[1:]
up = place / "up"
machines = set(up.read_text().split()) if up.exists() else set()
if command == "launch":
    name = rest[rest.index("--cluster") + 1]
    url, key = (os.environ.get("LILM_SEARCH_" + secret) for secret in ("STORAGE", "COMPILED_KEY"))
    note(launch=name, argv=rest, url=url, key=key)
    (place / f"{{name}} is up").touch()
    if name.endswith("-2"):
        sys.exit("no such machine is to be had")
elif command == "status":
    names = [p.name.removesuffix(" is up") for p in place.glob("* is up")]
    print("a line that is no JSON")
    print(json.dumps([{{"name": n, "status": "UP", "cloud": "RunPod", "region": None}} for n in names]))
elif command == "down":
    note(down=[n for n in rest if not n.startswith("-")])
    for name in rest:
        (place / f"{{name}} is up").unlink(missing_ok=True)
"""
SET_UP = """
if command == "launch":
    import subprocess, yaml
    setup = yaml.safe_load(open(rest[-1]))["setup"]
    done = subprocess.run(["bash", "-c", setup], env={{**os.environ, **{env!r}}})
    sys.exit(f"Failed to set up with return code {{done.returncode}}: see the log" if done.returncode else 0)
"""


@pytest.fixture
def sky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "sky"
    place.mkdir()
    program = place / "sky"
    program.write_text(f"#!{sys.executable}\n{SKY.format(place=str(place))}")
    program.chmod(0o755)
    monkeypatch.setenv("LILM_SEARCH_SKY", str(program))
    return place


def asked_of(place: Path) -> list[dict[str, Any]]:
    """What was asked of SkyPilot so far."""
    return [json.loads(line) for line in (place / "asked").read_text().splitlines()]


@pytest.fixture
def study(database: Database) -> LinkedStudy:
    plan = Plan.parse(PLAN + "[cost]\nusd_per_gpu_hour = 0.5\n", name="tiny", origin="a test")
    return open_study(database, plan)


def asked(**more: Any) -> Asked:
    given: dict[str, Any] = {"study": "tiny", "gpu": "RTX4090", "workers": 3, "max_usd": 3.0, "host": "db.example.org"}
    return Asked(**{**given, "source": "lilm-search==0.1.0", **more})


def shown(study: LinkedStudy) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    sky = find_sky()
    console.print(fleet(study, sky.machines() if sky else []))
    return console.export_text()


def test_a_launch_a_fleet_and_its_end(
    database: Database,
    database_url: str,
    study: LinkedStudy,
    fresh_home: Path,
    sky: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of three machines the second fails: it is given back, and its credential ends; so it goes for all with `down`.

    The key of compiled graphs, here from a file, reaches each of them as the credential does.
    """
    said, key = list[str](), "0123456789abcdef" * 4
    write_secret(tmp_path / "compiled.key", key)
    monkeypatch.setenv("LILM_SEARCH_COMPILED_KEY_FILE", str(tmp_path / "compiled.key"))
    launch(database, database_url, asked(), said.append)
    asked_for = {a["launch"]: a for a in asked_of(sky) if "launch" in a}
    names = sorted(asked_for)
    assert [n.rpartition("-")[2] for n in names] == ["1", "2", "3"]
    assert any("failed, and is given back: no such machine is to be had" in line for line in said)
    assert [a["down"] for a in asked_of(sky) if "down" in a] == [[names[1]]]
    assert {c.name: c.state for c in listed(database)} == {names[0]: "valid", names[2]: "valid"}
    assert load_study(database, "tiny").plan.cost.max_usd == 3.0
    urls = [parse_url(a["url"]) for a in asked_for.values()]
    assert {u.host for u in urls} == {"db.example.org"}
    assert {u.query["sslmode"] for u in urls} == {"verify-full"}
    assert len({u.username for u in urls}) == len({u.password for u in urls}) == 3
    written = "".join(p.read_text() for p in (fresh_home / "launches").rglob("*") if p.is_file())
    told = written + "".join(said) + json.dumps([a["argv"] for a in asked_for.values()])
    assert not any(str(u.password) in told for u in urls)
    assert {a["key"] for a in asked_for.values()} == {key}
    assert key not in told
    assert shown(study).count("up, no worker") == 2
    take_down(study, [], True, said.append)
    assert sorted(asked_of(sky)[-1]["down"]) == [names[0], names[2]]
    assert listed(database) == []


def test_a_machine_whose_driver_is_too_old_is_given_back(
    database: Database, database_url: str, study: LinkedStudy, fresh_home: Path, sky: Path, tmp_path: Path
) -> None:
    """The task's own set-up is run, on a machine with a stand-in for the driver; why it stops is what is said."""
    machine = RentedMachine(tmp_path / "machine", "470.82.01\n")
    variables = {name: machine.env[name] for name in ("HOME", "PATH")}
    (sky / "sky").write_text((sky / "sky").read_text() + SET_UP.format(env=variables))
    said: list[str] = []
    with pytest.raises(SearchError, match="no machine came up"):
        launch(database, database_url, asked(workers=1), said.append)
    (failed,) = [line for line in said if "failed, and is given back" in line]
    assert "does not run on cuda:0 with driver 470.82.01: The NVIDIA driver on your system is too old" in failed
    assert failed.endswith("take a machine whose driver is 580 or later")
    assert [len(a["down"]) for a in asked_of(sky) if "down" in a] == [1]
    assert (listed(database), machine.lines("started")) == ([], [])
    assert {t.state for t in study.proxy_trials()} == {TrialState.WAITING}


def test_what_a_fleet_does_and_who_is_meant(database: Database, study: LinkedStudy, sky: Path) -> None:
    registry = registry_of(study)
    for index in (1, 2):
        (sky / f"lilm-tiny-3f2a-{index} is up").touch()
        registry.register(
            f"host{index}/7",
            machine=f"host{index}",
            launch=f"lilm-tiny-3f2a-{index}",
            device="NVIDIA GeForce RTX 4090",
            usd_per_hour=0.5,
        )
    registry.register("own/9", machine="own", device="CPU", usd_per_hour=0.1)
    busy = study.proxy_queue.claim("host1/7", 7)
    assert isinstance(busy, Claim)
    database.storage.set_trial_intermediate_value(busy.trial_id, 40, 3.0)
    done = study.proxy_queue.claim("host2/7", 7)
    assert isinstance(done, Claim)
    study.proxy_queue.finish(done.trial_id, TrialState.COMPLETE, 2.0)
    rows = [re.split(r"\s{2,}", line.strip()) for line in shown(study).splitlines() if "/" in line]
    cells = {row[0]: row[1:6] for row in rows if len(row) > 6}
    card = "NVIDIA GeForce RTX 4090"
    assert cells["host1/7"] == ["lilm-tiny-3f2a-1", card, "trial 0, 40%", "0", "0.50"]
    assert cells["host2/7"] == ["lilm-tiny-3f2a-2", card, "idle", "1", "0.50"]
    assert cells["own/9"] == ["–", "CPU", "idle", "0", "0.10"]
    assert "workers: 3 alive; $1.10 an hour now" in shown(study)
    said: list[str] = []
    take_down(study, ["lilm-tiny-3f2a-1", "own/9"], False, said.append)
    assert asked_of(sky) == [{"down": ["lilm-tiny-3f2a-1"]}]
    assert {e.name: e.state for e in registry.workers()} == {"host1/7": "ended", "host2/7": "alive", "own/9": "alive"}
    assert said == ["own/9: not rented through SkyPilot here; stop it on its machine", "lilm-tiny-3f2a-1: given back"]
    first, *_, successor = study.proxy_trials()
    assert (first.state, first.user_attrs["failure"]) == (TrialState.FAIL, "lost")
    assert (successor.state, successor.user_attrs["retries"]) == (TrialState.WAITING, 0)
    take_down(study, ["lilm-tiny-3f2a"], False, said.append)  # the rest of the launch
    assert asked_of(sky)[-1] == {"down": ["lilm-tiny-3f2a-2"]}
    with pytest.raises(SearchError, match="nothing here goes by nobody; running: own/9"):
        take_down(study, ["nobody"], False, said.append)


def test_all_of_nothing_is_no_mistake(database: Database, study: LinkedStudy, fresh_home: Path, sky: Path) -> None:
    said: list[str] = []
    take_down(study, [], True, said.append)
    assert said == ["tiny: no worker runs and no machine is rented; there is nothing to give back"]
    assert not (sky / "asked").exists()  # SkyPilot was told to end nothing


@pytest.mark.parametrize(
    ("url", "more", "says"),
    [
        (None, {}, "embedded PostgreSQL, which no other machine can reach"),
        ("here", {"host": None}, "server is 127.0.0.1, which other machines can't reach by that name; give --host"),
        ("here", {"host": "localhost:5433"}, "server is localhost:5433, which other machines can't reach"),
        ("here", {"max_usd": None}, "no cap is set: give --max-usd"),
        ("here", {"gpu": "cpu"}, "only GPUs are rented"),
        ("here", {"gpu": "RTX4900"}, "did you mean RTX4090"),
    ],
)
def test_nothing_is_rented_where_it_would_be_in_vain(
    database: Database,
    database_url: str,
    study: LinkedStudy,
    fresh_home: Path,
    sky: Path,
    url: str | None,
    more: dict[str, Any],
    says: str,
) -> None:
    with pytest.raises(SearchError, match=says):
        launch(database, url and database_url, asked(**more), print)
    assert not (sky / "asked").exists()
    assert listed(database) == []
    assert load_study(database, "tiny").plan.cost.max_usd == 0


def test_a_server_that_a_file_names_is_no_embedded_one(
    database: Database, database_url: str, study: LinkedStudy, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = fresh_home / "url"
    file.write_text(database_url)
    file.chmod(0o600)
    monkeypatch.setenv("LILM_SEARCH_STORAGE_FILE", str(file))
    with pytest.raises(SearchError, match=r"server is 127\.0\.0\.1, which other machines can't reach"):
        launch(database, None, asked(host=None), print)
    printed, _ = text(asked(), None, None, None, "")  # of a study that only the server knows
    assert "lilm-search worker --study tiny" in printed
    said = run_cli("doctor", LILM_SEARCH_HOME=str(fresh_home)).stdout
    assert " PostgreSQL 18" in said
    assert "embedded PostgreSQL" not in said


def test_text_that_only_this_machine_has_is_refused(
    database: Database, database_url: str, fresh_home: Path, sky: Path
) -> None:
    plan = PLAN.replace('source = "builtin"', 'source = "/texts/mine.txt"') + "[cost]\nusd_per_gpu_hour = 0.5\n"
    open_study(database, Plan.parse(plan, name="tiny", origin="a test"))
    with pytest.raises(SearchError, match="rented machines don't have"):
        launch(database, database_url, asked(), print)


def test_a_dry_run_changes_nothing(
    database: Database, database_url: str, study: LinkedStudy, fresh_home: Path, sky: Path
) -> None:
    printed, notes = text(asked(), database_url, None, None, "")
    assert "LILM_SEARCH_STORAGE: null" in printed
    assert str(parse_url(database_url).password) not in printed + "".join(notes)
    assert load_study(database, "tiny").plan.cost.max_usd == 0
    assert not (sky / "asked").exists()
    assert not (fresh_home / "launches").exists()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"clouds": ("runpood",)}, "--cloud is runpood; did you mean runpod?"),
        ({"source": "nosuch.whl"}, "--source is nosuch.whl, but there is no such file"),
        ({"host": "a:99999"}, "must be HOST or HOST:PORT"),
    ],
)
def test_a_rehearsal_finds_what_is_misspelt(wrong: dict[str, Any], says: str, fresh_home: Path) -> None:
    for form in (None, "bare"):
        with pytest.raises(SearchError, match=re.escape(says)):
            text(asked(study="babylm", max_usd=10.0, **{"host": "db.example.org", **wrong}), None, form, None, "")


def test_a_rehearsal_reads_the_credential_and_names_the_host(fresh_home: Path, tmp_path: Path) -> None:
    shared = tmp_path / "credential"
    shared.write_text("postgresql://a:b@db.example.org/x")
    shared.chmod(0o644)
    with pytest.raises(StorageError, match="chmod"):
        text(asked(study="babylm", max_usd=10.0, credential_file=shared), None, None, None, "")
    _, notes = text(asked(study="babylm", max_usd=10.0, host="db.example.org:6543"), None, "bare", tmp_path / "b", "")
    assert any("--host db.example.org:6543" in n for n in notes)
    assert any("which no other reaches" in n for n in notes)


def test_a_cap_below_the_need_is_said(fresh_home: Path) -> None:
    """BabyLM needs 10 h of proxies and 7 h × 1.15 of long runs, × $0.59 = $10.65, where nothing is pruned."""
    _, notes = text(asked(study="babylm", max_usd=10.0), None, None, None, "")
    assert any("needs about $10.65" in n for n in notes)
    _, notes = text(asked(study="babylm", max_usd=12.0), None, None, None, "")
    assert not any("needs about" in n for n in notes)


def test_skypilots_failures_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "sky"
    program.write_text("#!/bin/sh\necho it broke >&2\nexit 3\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(SearchError, match="status failed: it broke"):
        SkyPilot(str(program)).machines()
    program.write_text("#!/bin/sh\necho nothing\n")
    with pytest.raises(SearchError, match="doesn't say which machines there are: nothing"):
        SkyPilot(str(program)).machines()
    monkeypatch.setenv("LILM_SEARCH_SKY", str(tmp_path / "none"))
    with pytest.raises(SearchError, match="no such program can be run"):
        find_sky()


def test_the_commands_answer(fresh_home: Path) -> None:
    """The issue's own command line, as a dry run without any server."""
    line = "launch --study babylm --gpu RTX4090 --workers 8 --max-usd 30 --cloud runpod --spot --dry-run"
    done = run_cli(*line.split(), LILM_SEARCH_HOME=str(fresh_home))
    assert done.returncode == 0, done.stderr
    assert "accelerators: RTX4090:1" in done.stdout
    assert "infra: runpod" in done.stdout
    assert "at most $4.72 an hour" in done.stderr
    wrong = run_cli("down", "--study", "babylm", LILM_SEARCH_HOME=str(fresh_home))
    assert wrong.returncode == 1
    assert "needs either names or --all" in wrong.stderr
