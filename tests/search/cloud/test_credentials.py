"""A rented machine, in a network of its own, works over verified TLS with a credential, and leaks nothing."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from optuna_dashboard import get_note
from typer.testing import CliRunner

from search.cli.main import app
from search.cloud.credentials import worker_url
from search.common.errors import SearchError
from search.study.study import load_study
from storage.access.roles import NewCredential
from storage.server.database import connect, parse_url
from tests.conftest import NAMESPACE_ADDRESS, database_with_tables, finish, run_cli
from tests.forking.client import IN_NETWORK, OURS, Forked
from tests.search.tiny import PLAN, TRIALS
from tests.tls import TlsServer

SMALL = (
    PLAN.replace(f"trials = {TRIALS}", "trials = 2")
    .replace('budget = "1s"', 'budget = "0.5s"')
    .replace('budget = "2s"', 'budget = "1s"')
    .replace("seeds = 2", "seeds = 1")
)
WRONG_ADDRESS = NAMESPACE_ADDRESS.removesuffix(".1") + ".3"
"""The server answers here too, but its certificate doesn't name it."""


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace whose only way out leads to this machine's NAMESPACE_ADDRESS."""
    if not shutil.which("ip") or os.geteuid() != 0:
        pytest.skip("network namespaces need iproute2 and root")
    name = f"lilm{os.getpid()}"
    here, there = f"{name}a", f"{name}b"
    steps = [
        f"ip netns add {name}",
        f"ip link add {here} type veth peer name {there} netns {name}",
        f"ip addr add {NAMESPACE_ADDRESS}/29 dev {here}",
        f"ip addr add {WRONG_ADDRESS}/29 dev {here}",
        f"ip link set {here} up",
        f"ip -n {name} addr add {NAMESPACE_ADDRESS.removesuffix('.1')}.2/29 dev {there}",
        f"ip -n {name} link set {there} up",
    ]
    try:
        for step in steps:
            done = subprocess.run(step.split(), capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"no network namespace can be had here: {done.stderr.strip()}")
        yield name
    finally:
        subprocess.run(["ip", "link", "del", here], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@dataclass(frozen=True)
class Machine:
    """A machine with a home and a network of its own; all that its commands print is kept."""

    namespace: str
    home: Path
    printed: list[str]

    def run(self, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("LILM_", "PG"))}
        command = [*IN_NETWORK, self.namespace, *OURS, *arguments]
        env = {**kept, "LILM_SEARCH_HOME": str(self.home), **env}
        done = finish(Forked(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd="/"))
        self.printed.extend([done.stdout, done.stderr])
        return done


def test_a_rented_machine_finishes_a_study(
    tls_server: TlsServer, namespace: str, home: Path, cache: Path, tmp_path: Path
) -> None:
    url = database_with_tables(tls_server.url)
    plan = tmp_path / "tiny.toml"
    plan.write_text(SMALL, encoding="utf-8")
    file, server = tmp_path / "box.credential", f"{NAMESPACE_ADDRESS}:{parse_url(url).port}"
    printed: list[str] = []
    started = run_cli("start", "--study", str(plan), "--workers", "0", LILM_SEARCH_STORAGE=url)
    assert started.returncode == 0, started.stderr
    printed += [started.stdout, started.stderr]

    def credential(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["credential", *arguments, "--storage", url])
        assert done.exit_code == 0, done.output
        printed.append(done.output)
        return done.output

    made = credential("new", "--study", "tiny", "--name", "box", "--host", server, "--to", str(file))
    assert "box: good for tiny until" in made
    assert file.stat().st_mode & 0o777 == 0o600
    address = file.read_text().splitlines()[1]
    secrets = [str(parse_url(address).password), str(parse_url(url).password)]

    box = Machine(namespace, tmp_path / "box", printed)
    box.home.mkdir()
    (box.home / "cache").symlink_to(cache)
    work = ("worker", "--study", "tiny", "--device", "cpu", "--threads", "1")
    stored = {"LILM_SEARCH_STORAGE_FILE": str(file)}
    authority = {"LILM_SEARCH_CA": tls_server.authority.read_text()}
    impostor = address.replace(NAMESPACE_ADDRESS, WRONG_ADDRESS)
    refused = box.run(*work, LILM_SEARCH_STORAGE=impostor, **authority)
    assert refused.returncode == 1
    assert f'does not match host name "{WRONG_ADDRESS}"' in refused.stderr
    assert "Traceback" not in refused.stderr

    before = len(tls_server.log)
    worked = box.run(*work, **stored, **authority)
    assert worked.returncode == 0, worked.stdout + worked.stderr
    assert re.findall(r"^42501 .*", tls_server.log[before:], re.M) == []  # it asks for nothing that it may not have
    database = connect(url)
    study = load_study(database, "tiny")
    assert [t.state for t in study.proxy_trials()] == [TrialState.COMPLETE] * 2
    runs = study.confirm_trials()
    assert [t.state for t in runs] == [TrialState.COMPLETE] * 2
    assert {r.user_attrs.get("baseline", "promoted") for r in runs} == {"by-hand", "promoted"}
    assert len([k for k in study.proxies.user_attrs if k.startswith("confirmed:")]) == 2
    assert "| rank |" in get_note(study.proxies)
    assert "Confirmed at 1s" in get_note(optuna.trial.Trial(study.proxies, study.proxy_trials()[0]._trial_id))
    database.close()

    assert "box" in credential("list")
    assert "box is revoked" in credential("revoke", "box")
    late = box.run(*work, "--storage", address, **authority)
    assert late.returncode == 1
    assert "all users of this machine can read a password on the command line" in late.stderr
    assert "lilm-search credential new" in late.stderr
    assert ":***@" in late.stderr

    dump = subprocess.run(
        [next(Path("/usr/lib/postgresql").glob("*/bin/pg_dump")), url], capture_output=True, text=True, check=True
    ).stdout
    assert json.dumps("by-hand") in dump
    files = [p for folder in (home, box.home) for p in folder.rglob("*") if p.is_file() and cache not in p.parents]
    kept = "".join([*printed, tls_server.log, dump, *(p.read_bytes().decode("latin-1") for p in files)])
    assert "trial 0: " in kept
    for secret in secrets:
        assert secret not in kept
        assert secret.encode().hex() not in kept


@pytest.mark.parametrize(
    ("owners", "host", "expected"),
    [
        ("postgresql://o:x@127.0.0.1:5433/d", None, "postgresql://lilm_a:pw@127.0.0.1:5433/d"),
        ("postgresql://o:x@127.0.0.1:5433/d", "db.org", "postgresql://lilm_a:pw@db.org:5433/d?sslmode=verify-full"),
        ("postgresql://o:x@h/d?sslrootcert=/x", "db.org:1", "postgresql://lilm_a:pw@db.org:1/d?sslmode=verify-full"),
        ("postgresql://o:x@h:1/d?sslmode=disable", None, "postgresql://lilm_a:pw@h:1/d?sslmode=verify-full"),
    ],
)
def test_the_workers_address(owners: str, host: str | None, expected: str) -> None:
    from datetime import UTC, datetime

    issued = NewCredential(role="lilm_a", password="pw", expires=datetime.now(UTC), gaps=[])
    assert worker_url(parse_url(owners), issued, host).render_as_string(hide_password=False) == expected
    with pytest.raises(SearchError, match="must be HOST or HOST:PORT"):
        worker_url(parse_url(owners), issued, "db.org:many")
