"""docker-compose.yml, Dockerfile and .env.example, as far as they can be checked where no Docker engine runs."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main

from search.cli.main import app
from search.show.dashboard.server import DEFAULT_PORT
from tests.deploy import machine

ROOT = machine.ROOT
SERVICES = machine.compose()["services"]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
ONCE = {"setup", "tables"}
SCRIPTS = sorted((ROOT / "deploy").glob("*.sh"))


def variables() -> dict[str, str]:
    """Every variable that the file takes from .env, with what follows its name."""
    return dict(re.findall(r"\$\{(\w+)([^}]*)\}", TEXT))


def test_every_variable_is_explained_and_no_password_has_a_default() -> None:
    example = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.M))
    assert example.keys() == variables().keys()
    for name, follows in variables().items():
        if "PASSWORD" in name or name == "LILM_HOST":
            assert follows.startswith(":?")
            assert example[name] == ""
        else:
            assert follows == f":-{example[name]}"


def test_passwords_reach_setup_alone_and_as_files() -> None:
    assert {name for name, service in SERVICES.items() if service.get("secrets")} == {"setup"}
    for service in SERVICES.values():
        assert not [k for k in service.get("environment", {}) if k.endswith("PASSWORD")]
        assert "PASSWORD" not in str(service.get("command")) + str(service.get("entrypoint"))
        assert not re.search(r"//[^/@]*:[^/@]*@", str(service.get("environment")))  # USER:PASSWORD@ in a URL


def test_nothing_is_published_beyond_this_machine_unless_asked_for() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() == {"postgres", "gateway"}
    for (port,) in published.values():
        assert re.match(r"\$\{LILM_(GATEWAY_)?BIND:-127\.0\.0\.1\}:", port)


def test_the_gateway_sees_the_dashboard_only() -> None:
    assert SERVICES["gateway"]["networks"] == ["web"]
    assert {name for name, service in SERVICES.items() if "web" in service.get("networks", [])} == {
        "gateway",
        "dashboard",
    }


def test_every_service_is_watched_restarted_and_kept_small() -> None:
    for name, service in SERVICES.items():
        assert service["restart"] == ("no" if name in ONCE else "unless-stopped")
        assert ("healthcheck" in service) == (name not in ONCE)
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert (service["user"] == "root") == (name == "setup")
        assert "privileged" not in service
        assert re.fullmatch(r"(postgres|nginx):\d+|lilm-search:cpu", service["image"])


def test_all_that_is_named_exists() -> None:
    volumes, networks = machine.compose()["volumes"], machine.compose()["networks"]
    for service in SERVICES.values():
        assert set(service.get("networks", [])) <= set(networks)
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        assert set(service.get("secrets", [])) <= set(machine.compose()["secrets"])
        for source in (v.split(":")[0] for v in service["volumes"]):
            assert source in volumes or (ROOT / source).exists(), source
        words = [*service.get("entrypoint", []), *service.get("healthcheck", {}).get("test", [])]
        for script in (w for w in words if w.startswith("/deploy/")):
            assert (ROOT / script[1:]).is_file()
    for script in SCRIPTS:
        assert script.stat().st_mode & 0o111 == 0o111, script


def test_who_waits_for_whom() -> None:
    """Each starts after what it needs has succeeded: keys, then the server, then tables, then their readers."""
    waits = {name: {k: v["condition"] for k, v in s.get("depends_on", {}).items()} for name, s in SERVICES.items()}
    assert waits["postgres"] == {"setup": "service_completed_successfully"}
    assert waits["tables"] == {"postgres": "service_healthy"} == waits["backups"]
    assert waits["dashboard"] == {"tables": "service_completed_successfully"}


def test_every_key_volume_has_one_reader_and_one_maker() -> None:
    for volume in machine.compose()["volumes"]:
        users = {n: v for n, s in SERVICES.items() for v in s["volumes"] if v.startswith(f"{volume}:")}
        if volume == "authority":
            assert users.keys() == {"setup"}
        elif volume.endswith("_keys"):
            reader = volume.removesuffix("_keys")
            assert users.keys() == {"setup", reader}
            assert users[reader].endswith(":ro")


def test_owners_in_setup_are_those_who_run_the_services() -> None:
    script = (ROOT / "deploy" / "setup.sh").read_text()
    owners = dict(re.findall(r"^(\w+)_OWNER=\$\{\w+:-([0-9:]+)\}", script, re.M))
    assert SERVICES["postgres"]["user"] == owners["POSTGRES"] == SERVICES["backups"]["user"]
    assert SERVICES["gateway"]["user"] == owners["GATEWAY"]
    assert SERVICES["dashboard"]["user"] == owners["LILM"] == SERVICES["tables"]["user"]
    assert f"USER {owners['LILM']}" in (ROOT / "Dockerfile").read_text()


def test_the_dashboards_command_parses() -> None:
    name, *options = SERVICES["dashboard"]["command"]
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    parsed = command.make_context(name, list(options)).params
    assert (parsed["host"], parsed["behind_gateway"], parsed["port"] or DEFAULT_PORT) == ("0.0.0.0", True, 8080)


def test_the_dockerfile_copies_what_exists_and_ends_as_nobody() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    steps = [line.split(None, 1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    instructions = {word for word, _ in steps}
    known = "FROM RUN ARG WORKDIR COPY USER ENV VOLUME HEALTHCHECK ENTRYPOINT CMD"
    assert instructions <= set(known.split())
    sources = [source for word, rest in steps if word == "COPY" for source in rest.split()[:-1]]
    let_through = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M)
    assert sorted(sources) == sorted(let_through)
    assert all((ROOT / source).exists() for source in sources)
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(packages["packages"]) <= set(sources)
    assert [rest for word, rest in steps if word == "USER"] == ["10001:10001"]
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    python = re.search(r"FROM python:(3\.\d+)-", text)
    assert python is not None
    assert wanted == f">={python[1]}"


@pytest.mark.parametrize("url", ["", "postgresql://lilm@127.0.0.1:1/lilm", "no url"])
def test_the_workers_health_is_whether_its_server_answers(url: str) -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert 'CMD ["python", "-m", "storage.server.ping"]' in text
    env = {"PYTHONPATH": str(ROOT), "LILM_SEARCH_STORAGE": url}
    done = machine.run([sys.executable, "-m", "storage.server.ping"], env)
    assert done.returncode == (0 if url == "" else 1)


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("check-jsonschema", ("--builtin-schema", "vendor.compose-spec", "docker-compose.yml")),
        ("hadolint", ("Dockerfile",)),
    ],
)
def test_the_files_are_what_their_makers_allow(program: str, arguments: tuple[str, ...]) -> None:
    """By the Compose Specification's own schema, and by hadolint; both are on PyPI."""
    found = shutil.which(program, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"this machine has no {program}")
    done = subprocess.run([found, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_scripts_are_sound(script: Path) -> None:
    shell = script.read_text().splitlines()[0].rsplit("/", 1)[1]
    checkers = [[shell, "-n", str(script)]]
    if shutil.which("shellcheck"):
        checkers.append(["shellcheck", str(script)])
    for command in checkers:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_guide_names_no_file_or_setting_that_is_not_there() -> None:
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\bLILM_[A-Z_]+\b", guide)) - {"LILM_SEARCH_STORAGE"} <= variables().keys()
    for path in re.findall(r"\bdeploy/[\w.]+\.(?:sh|sql|conf)", guide):
        assert (ROOT / path).exists(), path
    used = set(re.findall(r"docker compose (?:exec|logs|run --rm|restart|cp|stop)(?: -\S+)* ([a-z]+)", guide))
    assert used
    assert used <= SERVICES.keys()
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = set(re.findall(r"lilm-search ([a-z]+)\b", guide)) - {"credential"}
    assert named <= set(commands)
