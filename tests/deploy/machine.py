"""The services of docker-compose.yml on this machine: the same scripts, flags and files, with folders for volumes."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from storage.server.embedded import _free_port, _unprivileged

ROOT = Path(__file__).parent.parent.parent
OWNER_PASSWORD = "Owner-Pa55:with\\colon'and-quote"
GATEWAY_PASSWORD = "Gate-Pa55word"
HOSTS = "study.example.org, 203.0.113.7"


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


def as_postgres() -> dict[str, Any]:
    """Who runs the services here: ourselves, or postgres when we are root."""
    owner = _unprivileged()
    return {"user": owner.uid, "group": owner.gid, "extra_groups": []} if owner else {}


def owner_spec() -> str:
    who = as_postgres()
    return f"{who.get('user', os.geteuid())}:{who.get('group', os.getegid())}"


def setup(folder: Path, **changed: str) -> "subprocess.CompletedProcess[str]":
    """Run deploy/setup.sh as the setup service does; `LILM_PASSWORD` and `LILM_GATEWAY_PASSWORD` are its secrets."""
    secrets = folder / "secrets"
    secrets.mkdir(parents=True, exist_ok=True)
    passwords = {"LILM_PASSWORD": OWNER_PASSWORD, "LILM_GATEWAY_PASSWORD": GATEWAY_PASSWORD} | changed
    (secrets / "lilm_password").write_text(passwords["LILM_PASSWORD"])
    (secrets / "gateway_password").write_text(passwords["LILM_GATEWAY_PASSWORD"])
    owners = dict.fromkeys(("POSTGRES_OWNER", "GATEWAY_OWNER", "LILM_OWNER"), owner_spec())
    env = {"PATH": os.environ["PATH"], "OUT": str(folder / "out"), "SECRETS": str(secrets), "LILM_HOST": HOSTS} | owners
    env |= {k: v for k, v in changed.items() if k not in ("LILM_PASSWORD", "LILM_GATEWAY_PASSWORD")}
    return run([str(ROOT / "deploy" / "setup.sh")], env)


def run(
    command: Sequence[str], env: dict[str, str], text: str | None = None, **who: Any
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, env=env, input=text, capture_output=True, text=True, timeout=120, check=False, cwd="/", **who
    )


@dataclass
class Server:
    """The postgres service in a folder: its own cluster, the keys that setup.sh made, the flags of the file."""

    folder: Path
    programs: Path
    port: int = field(default_factory=_free_port)

    @property
    def keys(self) -> Path:
        return self.folder / "out" / "postgres"

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    def flags(self) -> list[str]:
        """The service's command, with this machine's places for the container's."""
        command: list[str] = compose()["services"]["postgres"]["command"][1:]
        here = [f.replace("=/tls/", f"={self.keys}/").replace("=/deploy/", f"={ROOT}/deploy/") for f in command]
        return [
            *here,
            "-clisten_addresses=127.0.0.1",
            f"-cport={self.port}",
            f"-cunix_socket_directories={self.folder}",
        ]

    def env(self, **more: str) -> dict[str, str]:
        """What scripts find in the container: the socket and the programs."""
        path = f"{self.programs}:{os.environ['PATH']}"
        return {"PATH": path, "PGHOST": str(self.folder), "PGPORT": str(self.port), "HOME": "/nonexistent"} | more

    def inside(self, *command: str, text: str | None = None, **env: str) -> str:
        """Run a command as `docker compose exec postgres` would; it must succeed."""
        done = run(command, self.env(**env), text, **as_postgres())
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def create(self) -> None:
        """What the image's entrypoint does before the first start."""
        arguments = compose()["services"]["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
        password = f"--pwfile={self.keys / 'superuser_password'}"
        data = str(self.folder / "data")
        self.inside("initdb", "--no-sync", "--username=postgres", password, *arguments, f"--pgdata={data}")

    def start(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            command = [str(self.programs / "postgres"), f"-D{self.folder / 'data'}", *self.flags()]
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", env=self.env(), **as_postgres())
        for _ in range(600):
            if self.healthy() or process.poll() is not None:
                break
        assert self.healthy(), self.log.read_text()
        return process

    def healthy(self) -> bool:
        """The service's health check, at this port."""
        test = compose()["services"]["postgres"]["healthcheck"]["test"]
        assert test[0] == "CMD"
        return run([*test[1:], f"--port={self.port}", "--timeout=1"], self.env()).returncode == 0

    def first_start(self) -> None:
        """What the image's entrypoint does at the first start: the database, then its scripts."""
        self.sql('CREATE DATABASE "lilm"', "postgres")
        self.roles()

    def roles(self, *database: str) -> None:
        self.inside(str(ROOT / "deploy" / "roles.sh"), *database, KEYS=str(self.keys), FOLDER=str(ROOT / "deploy"))

    def sql(self, text: str, database: str = "lilm") -> str:
        """Run SQL as the superuser on the socket."""
        return self.inside("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-Upostgres", f"-d{database}", text=text).strip()

    def url(self, service: str, user: str, **query: str) -> str:
        """The service's own URL, with this machine's places."""
        folder = self.folder / "out" / service
        options = {"sslmode": "verify-full", "sslrootcert": f"{folder}/ca.crt", "passfile": f"{folder}/pgpass"} | query
        return f"postgresql://{user}@localhost:{self.port}/lilm?" + "&".join(f"{k}={v}" for k, v in options.items())

    def owner_url(self) -> str:
        return self.url("tables", "lilm")

    def reader_url(self) -> str:
        return self.url("dashboard", "lilm_reader")

    def make_tables(self) -> None:
        """The tables service."""
        entrypoint = compose()["services"]["tables"]["entrypoint"]
        assert entrypoint[0] == "python"
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LILM_SEARCH_STORAGE": self.owner_url()}
        done = run([sys.executable, *entrypoint[1:]], env)
        assert done.returncode == 0, done.stdout + done.stderr
