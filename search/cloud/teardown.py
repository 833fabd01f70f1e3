"""Giving machines back: SkyPilot ends them, the registry is told, their trials go to others."""

from collections.abc import Callable, Sequence
from functools import partial

from search.cloud.launch import withdraw_all
from search.cloud.rental import is_machine_of
from search.cloud.skypilot import find_sky, need_sky
from search.common.errors import SearchError
from search.study.cost import registry_of
from search.study.study import LinkedStudy
from storage.registry.workers import RegisteredWorker


def take_down(study: LinkedStudy, names: Sequence[str], everything: bool, say: Callable[[str], None]) -> None:
    """End machines by name, or all, of which there may be none.

    Raises `SearchError` where a name means none, or SkyPilot doesn't end one.
    """
    entries = registry_of(study).workers()
    meant = chosen(entries, names, everything)
    known = _rented(study, meant)
    machines = [m for m in known if everything or any(n == m or is_of_launch(n, m) for n in names)]
    machines += [e.launch for e in meant if e.launch in known]
    machines = sorted(set(machines))
    if not meant and not machines and everything:
        say(f"{study.plan.name}: no worker runs and no machine is rented; there is nothing to give back")
        return
    if not meant and not machines:
        there = ", ".join(sorted({*known, *(e.name for e in entries if e.state != "ended")})) or "none"
        raise SearchError(f"nothing here goes by {', '.join(names)}; running: {there}")
    if machines:
        need_sky().down(machines)
    for entry in meant:
        _settle(study, entry, entry.launch in machines, say)
    for machine in machines:
        say(f"{machine}: given back")
    withdraw_all(study.database, machines, say)


def _rented(study: LinkedStudy, meant: Sequence[RegisteredWorker]) -> list[str]:
    """Return the study's machines that SkyPilot has; without SkyPilot, and with nothing rented, none."""
    if any(_mine(study, e.launch) and e.alive for e in meant):
        need_sky()
    sky = find_sky()
    return [m.name for m in sky.machines() if _mine(study, m.name)] if sky else []


def _mine(study: LinkedStudy, machine: str) -> bool:
    return is_machine_of(study.plan.name, machine, study.proxy_queue.identity)


def _settle(study: LinkedStudy, entry: RegisteredWorker, ended: bool, say: Callable[[str], None]) -> None:
    """Hand on the trial of a worker that is gone; one that SkyPilot didn't rent, and lives, is only named."""
    if entry.alive and not ended:
        say(f"{entry.name}: not rented through SkyPilot here; stop it on its machine")
        return
    study.release_worker(entry.name)
    study.database.retrying(partial(registry_of(study).give_up, entry.name))


def chosen(entries: Sequence[RegisteredWorker], names: Sequence[str], everything: bool) -> list[RegisteredWorker]:
    """Return the workers that haven't ended and are meant by a worker's, a machine's or a launch's name."""
    open_ones = [e for e in entries if e.state != "ended"]
    return open_ones if everything else [e for e in open_ones if any(_meant(n, e) for n in names)]


def _meant(name: str, entry: RegisteredWorker) -> bool:
    return name in (entry.name, entry.machine, entry.launch) or is_of_launch(name, entry.launch)


def is_of_launch(launch: str, machine: str) -> bool:
    """Return whether a machine's name is that of a launch, with its number."""
    return machine.rpartition("-")[0] == launch
