"""Renting: a study's rental, and the task that SkyPilot is given for each of its machines."""

import math
import re
import secrets
from dataclasses import dataclass
from typing import Any

import yaml

from search.cloud.worker_script import FOLDER, Bundle, Work, environment, install_rented, workers
from search.common.durations import format_duration
from search.common.errors import SearchError
from search.machine.gpu_catalog import rentable_gpu, split
from search.study.plan import Plan
from search.study.settings import Fidelity

IDLE_MINUTES = 5
DISK_GB = 64
CPU = "cpu"
"""Instead of a GPU's name, for machines of one's own that have none."""
OVERHEAD = 1.15
"""Of a run's time over its budget, in estimates before anything has run."""


@dataclass(frozen=True, kw_only=True)
class Rental:
    """What is rented for a study: machines that are all alike."""

    name: str
    """Of the launch; its machines are called NAME-1, NAME-2, …"""
    gpu: str
    machines: int
    clouds: tuple[str, ...]
    """Where to look, the cheapest first; empty: wherever SkyPilot may."""
    spot: bool
    work: Work

    @property
    def usd_per_hour(self) -> float:
        """Of all machines together, at most."""
        return self.machines * max(1, self.work.gpus) * self.work.usd_per_hour

    def machine_names(self) -> list[str]:
        """Return what each machine is called."""
        return [f"{self.name}-{i + 1}" for i in range(self.machines)]

    def brief(self, max_usd: float) -> str:
        """Return one line for people."""
        gpus = f"{self.machines} × {self.work.gpus or ''} {self.gpu}{' (spot)' if self.spot else ''}".replace("  ", " ")
        where = f" on {' or '.join(self.clouds)}" if self.clouds else ""
        until = format_duration(self.work.seconds)
        return (
            f"{self.name}: {gpus}{where}, at most ${self.usd_per_hour:.2f} an hour; ended after {until} at the "
            f"latest; the study may cost ${max_usd:.2f} in all"
        )


def rental(
    plan: Plan,
    *,
    token: str,
    gpu: str,
    workers_asked: int,
    clouds: tuple[str, ...] = (),
    spot: bool = False,
    price: float | None = None,
    hours: float | None = None,
    dollars_left: float,
) -> Rental:
    """Settle what is rented. Raises `SearchError` for what can't be rented, or not for the dollars that are left.

    Its time is over at the latest when all machines together would have used up the dollars: a second fuse beside the
    study's cap, which holds where the database is wrong or can't be had.
    """
    name, per_machine = split(gpu)
    if workers_asked % per_machine:
        raise SearchError(f"--workers is {workers_asked}, but must be a multiple of {per_machine}, as --gpu is {gpu}")
    each = plan.cost.usd_per_gpu_hour if price is None else price
    if not each or not dollars_left:
        raise SearchError(
            f"an hour of a GPU costs ${each:g} and ${dollars_left:g} are left; give --price and --max-usd, both > 0"
        )
    affordable = dollars_left / (workers_asked * each)
    if hours is not None and hours > affordable:
        raise SearchError(
            f"--hours is {hours:g}, but {workers_asked} × ${each:g} an hour use up ${dollars_left:.2f} in "
            f"{affordable:.2f} hours"
        )
    seconds = math.floor(3600 * (affordable if hours is None else hours))
    if seconds < plan.proxy.budget_seconds * OVERHEAD:
        raise SearchError(
            f"${dollars_left:.2f} pay {workers_asked} workers at ${each:g} an hour for {format_duration(seconds)}, "
            f"less than one trial of {plan.proxy.budget}; rent fewer, or raise --max-usd"
        )
    gpus = 0 if name == CPU else per_machine
    work = Work(study=plan.name, gpus=gpus, seconds=seconds, usd_per_hour=each)
    return Rental(
        name=launch_name(plan.name, token),
        gpu=name if name == CPU else rentable_gpu(name),
        machines=workers_asked // per_machine,
        clouds=clouds,
        spot=spot,
        work=work,
    )


def launch_name(study: str, token: str) -> str:
    """Return a launch's name, which every cloud allows: some stop at 35 characters, a credential's name at 32."""
    return f"lilm-{_stem(study, token)}-{token}"


def launch_token(identity: str) -> str:
    """Return what ends a launch's name: of which study it is, for there are names alike, and a number of its own."""
    return identity[:4] + secrets.token_hex(2)


def is_machine_of(study: str, name: str, identity: str = "") -> bool:
    """Return whether a machine was rented for this study; older versions' names don't tell it from one named alike."""
    token = re.fullmatch(r"lilm-.*-([0-9a-f]{4}|[0-9a-f]{8})-\d+", name)
    if token is None or (len(token[1]) == 8 and not (identity and token[1].startswith(identity[:4]))):
        return False
    return name.rpartition("-")[0] == launch_name(study, token[1])


def _stem(study: str, token: str) -> str:
    return study.replace("_", "-")[: 22 - len(token)].strip("-")


def estimate_usd(plan: Plan, price: float) -> float:
    """Return what the whole study would cost if nothing were pruned."""
    proxies = _limited_hours(plan.proxy, plan.proxy.trials, price)
    return (proxies + _limited_hours(plan.confirm, plan.confirmations, price)) * price


def _limited_hours(fidelity: Fidelity, runs: int, price: float) -> float:
    """Return the hours of so many runs, or those that the fidelity's own limits allow."""
    limits = [runs * fidelity.budget_seconds * OVERHEAD / 3600]
    limits += [fidelity.max_hours] if fidelity.max_hours else []
    limits += [fidelity.max_usd / price] if fidelity.max_usd and price else []
    return min(limits)


def task(rental: Rental, machine: str, bundle: Bundle, folder: str) -> dict[str, Any]:
    """Return SkyPilot's task for one machine, without a secret; `folder` is where the bundle lies here."""
    places = [{"infra": cloud} for cloud in rental.clouds]
    resources: dict[str, Any] = {
        "accelerators": f"{rental.gpu}:{rental.work.gpus}",
        "use_spot": rental.spot,
        "disk_size": DISK_GB,
        "max_hourly_cost": round(rental.work.gpus * rental.work.usd_per_hour, 4),
        # RunPod's machines can't be stopped, only taken down; a login by SSH doesn't keep one up.
        "autostop": {"idle_minutes": IDLE_MINUTES, "down": True, "wait_for": "jobs"},
    }
    where = {} if not places else places[0] if len(places) == 1 else {"any_of": places}
    return {
        "name": machine,
        "resources": {**resources, **where},
        "file_mounts": {f"~/{FOLDER}": folder},
        "envs": environment(rental.work, bundle, machine, f"~/{FOLDER}"),
        "secrets": dict.fromkeys(bundle.secrets),  # given when it is launched: sky launch --secret LILM_SEARCH_STORAGE
        "setup": install_rented(bundle, rental.work.gpus),
        "run": f"cd ~/{FOLDER}\nexport LILM_SEARCH_HOME=~/{FOLDER}/home\n{workers(rental.work)}",
    }


class _Literal(yaml.SafeDumper):
    """Writes longer texts as blocks, so that scripts can be read."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Literal.add_representer(str, _block)


def as_yaml(*documents: dict[str, Any]) -> str:
    """Return documents as YAML for people."""
    return yaml.dump_all(documents, Dumper=_Literal, sort_keys=False, width=1000, allow_unicode=True)


def scalar(text: str) -> str:
    """Return a text as a value that stands on a line of YAML, quoted where it must be."""
    style = None if text.isprintable() else '"'
    written = yaml.safe_dump(text, default_style=style, width=math.inf, allow_unicode=True)
    return written.removesuffix("\n").removesuffix("\n...")
