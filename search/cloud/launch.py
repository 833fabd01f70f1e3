"""Launching: what must hold before anything is rented, then a machine each with a credential of its own."""

import difflib
import secrets
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from search.cloud.credentials import host_and_port, issue, worker_url
from search.cloud.install_bundle import build, foreseen
from search.cloud.rental import CPU, Rental, as_yaml, estimate_usd, launch_token, rental, task
from search.cloud.skypilot import SkyPilot, need_sky
from search.cloud.without_skypilot import bare, kubernetes, slurm
from search.cloud.worker_script import COMPILED_KEY_NAME, CREDENTIAL, MARK, STORAGE, Bundle
from search.common import paths
from search.common.compiled_key import COMPILED_KEY, compiled_key
from search.common.errors import SearchError
from search.strategy.priming import prime
from search.study import study_file as studyfile
from search.study.connection import open_database
from search.study.cost import study_bill
from search.study.plan import Plan
from search.study.requested import capped, with_cap
from search.study.shipped import shipped
from search.study.study import LinkedStudy, load_study, open_study
from storage.access import roles
from storage.errors import StorageError
from storage.server.address import is_local, parse_url, read_secret, stored_url
from storage.server.database import Database

CLOUDS = (
    "runpod",
    "vast",
    "lambda",
    "aws",
    "gcp",
    "azure",
    "kubernetes",
    "nebius",
    "oci",
    "do",
    "fluidstack",
    "paperspace",
)
"""That SkyPilot rents on, most of them: others are passed on unless they look like a misspelt one of these."""

SPARE_SECONDS = 2 * 3600
"""For which a credential outlives its machine's work: renting and installing come first."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a person asked for on the command line."""

    study: str
    gpu: str
    workers: int
    max_usd: float | None
    clouds: tuple[str, ...] = ()
    spot: bool = False
    hours: float | None = None
    price: float | None = None
    host: str | None = None
    credential_file: Path | None = None
    source: str | None = None

    def check(self) -> None:
        """Refuse, before anything is shown or rented, what is misspelt or not there: `SearchError`, `StorageError`."""
        if self.host:
            host_and_port(self.host)
        for cloud in self.clouds:
            close = difflib.get_close_matches(cloud, CLOUDS, n=1, cutoff=0.6)
            if cloud not in CLOUDS and close:
                raise SearchError(f"--cloud is {cloud}; did you mean {close[0]}? Known: {', '.join(CLOUDS)}")
        if self.source and self.source.endswith(".whl") and not Path(self.source).expanduser().is_file():
            raise SearchError(f"--source is {self.source}, but there is no such file")
        if self.source and _is_here_alone(self.source):
            raise SearchError(
                f"--source is {self.source}, which is on this machine alone; give a wheel (`pip wheel --no-deps "
                f"{self.source}` makes one), or what pip can install there, such as git+https://HOST/lilm-search@COMMIT"
            )
        if self.credential_file:
            parse_url(read_secret(self.credential_file))

    def rental(self, plan: Plan, token: str, spent: float) -> Rental:
        """Settle it for a plan, which holds the cap, and the dollars that are spent or bound already."""
        if not plan.cost.max_usd:
            raise SearchError("no cap is set: give --max-usd, the dollars that the whole study may cost")
        return rental(
            plan,
            token=token,
            gpu=self.gpu,
            workers_asked=self.workers,
            clouds=self.clouds,
            spot=self.spot,
            price=self.price,
            hours=self.hours,
            dollars_left=max(0.0, plan.cost.max_usd - spent),
        )


def _is_here_alone(source: str) -> bool:
    """Return whether pip would read this as a path of the machine that it runs on; a wheel is brought along."""
    written_as_path = "/" in source or source.startswith((".", "~"))
    return written_as_path and not source.endswith(".whl") and Path(source).expanduser().exists()


def launch(database: Database, url: str | None, asked: Asked, say: Callable[[str], None]) -> None:
    """Rent what was asked for; raises `SearchError` where it can't be, or none came up."""
    url = url or stored_url()
    asked.check()
    check_reachable(database, url, asked.host)
    sky, study = need_sky(), load_study(database, asked.study)
    check_data(study)
    if asked.gpu == CPU:
        raise SearchError("--gpu is cpu, but only GPUs are rented; --print shows what to run on machines of your own")
    plan = with_cap(database, study.plan, asked.max_usd, asked.price)
    total = study_bill(study)
    wanted = asked.rental(plan, launch_token(study.proxy_queue.identity), total.spent + total.bound)
    folder = paths.home() / "launches" / wanted.name
    bundle = build(folder, asked.source, url)
    study = open_study(database, plan, say, prime=prime)
    for line in advice(plan, wanted):
        say(line)
    urls = credentials(database, study, wanted, asked.host, asked.credential_file)
    up = rent(sky, wanted, bundle, folder, urls, say)
    withdraw_all(database, [n for n in wanted.machine_names() if n not in up], say)
    if not up:
        raise SearchError(f"no machine came up; the reasons are in {folder}-logs")
    say(f"{len(up)} of {wanted.machines} machines are up; next: lilm-search fleet --study {plan.name}")


def advice(plan: Plan, wanted: Rental) -> list[str]:
    """Return what is rented, in a line, and where the cap is too low for the study."""
    needed = estimate_usd(plan, wanted.work.usd_per_hour)
    lines = [wanted.brief(plan.cost.max_usd)]
    if needed > plan.cost.max_usd:
        lines.append(
            f"note: the whole study needs about ${needed:.2f} where nothing is pruned: the cap may end it before its "
            "long runs; ask for fewer trials or raise --max-usd"
        )
    return lines


def text(asked: Asked, url: str | None, form: str | None, to: Path | None, image: str) -> tuple[str, list[str]]:
    """Return the task, or what to run without SkyPilot, and notes to it; nothing is rented or changed.

    Without a URL the study file alone says what is needed, or else this machine's own database.
    """
    asked.check()
    if form not in (None, "bare", "kubernetes", "slurm"):
        raise SearchError(f'--print is "{form}", but must be one of bare, kubernetes, slurm')
    url = url or stored_url()
    plan, spent = _plan(asked, url)
    wanted = asked.rental(plan, "0000" if form is None else secrets.token_hex(2), spent)
    notes = advice(plan, wanted)
    if not url:
        notes.append(
            "without --storage the study is in this machine's PostgreSQL, which no other reaches: docs/deploy.md"
        )
    if form is None:
        if asked.gpu == CPU:
            raise SearchError("--gpu is cpu, but only GPUs are rented")
        notes.append("the credential is given at the launch, by the environment, and never written into the task")
        shown = paths.home() / "launches" / wanted.name
        return as_yaml(task(wanted, wanted.machine_names()[0], foreseen(asked.source, url), str(shown))), notes
    if compiled_key():
        notes.append(f"write the key of compiled graphs into {COMPILED_KEY_NAME} (mode 600), beside {CREDENTIAL}")
    if form == "kubernetes":
        notes.append(_make_credential(wanted, asked.host))
        return kubernetes(wanted, foreseen(asked.source, url), image), notes
    folder = to or paths.home() / "launches" / wanted.name
    bundle = build(folder, asked.source, url)
    notes += [
        f"bring the files in {folder}, and beside them {CREDENTIAL} (mode 600)",
        _make_credential(wanted, asked.host),
    ]
    return (bare if form == "bare" else slurm)(wanted, bundle), notes


def _make_credential(wanted: Rental, host: str | None) -> str:
    count = roles.CONNECTIONS * wanted.machines * max(1, wanted.work.gpus)
    return (
        f"make it: lilm-search credential new --study {wanted.work.study} --connections {count} "
        f"--expires {(wanted.work.seconds + SPARE_SECONDS) // 3600 + 1}h --to {CREDENTIAL} --host {host or 'HOST'}"
    )


def _plan(asked: Asked, url: str | None) -> tuple[Plan, float]:
    """Return the plan with the cap asked for, and the dollars that are spent or bound."""
    if url is None and (studyfile.is_path(asked.study) or asked.study in shipped()):
        plan = studyfile.read(asked.study)
        return capped(plan, asked.max_usd, asked.price), 0.0
    with open_database(url, "launch") as database:
        study = load_study(database, asked.study)
        total = study_bill(study)
        return with_cap(database, study.plan, asked.max_usd, asked.price), total.spent + total.bound


def check_reachable(database: Database, url: str | None, host: str | None) -> None:
    """Raise `SearchError` where machines elsewhere can't reach the study's server."""
    if url is None:
        raise SearchError(
            "the study is in this machine's embedded PostgreSQL, which no other machine can reach; put it on a server "
            "of its own (docs/deploy.md) and name that with --storage"
        )
    address = database.engine.url
    if is_local(address.set(host=host.partition(":")[0], query={}) if host else address):
        raise SearchError(
            f"the study's server is {host or address.host}, which other machines can't reach by that name; give --host "
            "with the name that they can (docs/deploy.md)"
        )


def check_data(study: LinkedStudy) -> None:
    """Raise `SearchError` where the study's text is on this machine only."""
    source = study.plan.data.source
    if source != "builtin" and not source.startswith("hf:"):
        raise SearchError(f"the study's text is {source}, which rented machines don't have; put it on the hub (hf:…)")


def credentials(
    database: Database, study: LinkedStudy, rental: Rental, host: str | None, file: Path | None
) -> Mapping[str, str]:
    """Return a URL for each machine: a credential of its own, or the one in the file for all."""
    names = rental.machine_names()
    if file:
        return dict.fromkeys(names, read_secret(file))
    seconds, connections = rental.work.seconds + SPARE_SECONDS, roles.CONNECTIONS * max(1, rental.work.gpus)
    urls = {}
    for name in names:
        issued = issue(database, study.plan.name, name, f"{seconds}s", connections)
        urls[name] = worker_url(database.engine.url, issued, host).render_as_string(hide_password=False)
    return urls


def rent(
    sky: SkyPilot, rental: Rental, bundle: Bundle, folder: Path, urls: Mapping[str, str], say: Callable[[str], None]
) -> list[str]:
    """Rent every machine at the same time; returns those that came up. What failed half-way is given back."""
    logs = folder.parent / f"{folder.name}-logs"
    logs.mkdir(parents=True, exist_ok=True)
    begun: dict[str, subprocess.Popen[bytes]] = {}
    key = compiled_key() if bundle.compiled_key else None
    shared = {COMPILED_KEY: key} if key else {}
    for name in rental.machine_names():
        file = logs / f"{name}.yaml"
        file.write_text(as_yaml(task(rental, name, bundle, str(folder))), encoding="utf-8")
        begun[name] = sky.launch(file, name, {STORAGE: urls[name], **shared}, logs / f"{name}.log")
        say(f"{name}: asked for; see {logs / f'{name}.log'}")
    up = []
    for name, process in begun.items():
        if process.wait() == 0:
            up.append(name)
            say(f"{name}: up")
        else:
            say(f"{name}: failed, and is given back: {_end(logs / f'{name}.log')}")
            _give_back(sky, name, say)
    return up


def _give_back(sky: SkyPilot, name: str, say: Callable[[str], None]) -> None:
    """SkyPilot leaves what failed to be set up running, at full price."""
    try:
        sky.down([name])
    except SearchError as error:
        say(f"{name}: MAY STILL BE RENTED: {error}; see `sky status`")


def withdraw(database: Database, name: str) -> None:
    """End a machine's credential, where it has one of its own."""
    if name in {c.name for c in roles.listed(database)}:
        roles.revoke(database, name)


def withdraw_all(database: Database, names: list[str], say: Callable[[str], None]) -> None:
    """End the credentials of machines that are gone; one that can't be ended is said, and no reason to stop."""
    for name in names:
        try:
            withdraw(database, name)
        except StorageError as error:
            say(f"{name}: its credential remains: {error}")


def _end(log: Path) -> str:
    """Return the sentence in which the machine's set-up said why it stopped, else the log's last line."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    ours = [line[line.index(MARK) + len(MARK) :].strip() for line in lines if MARK in line]
    return (ours or lines or ["without a word"])[-1]
