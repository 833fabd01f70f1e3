"""Check of this machine as a worker of a study: the study, its plan, its hardware, its cost cap, its text."""

import tomllib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import optuna

from model.errors import ModelError
from search.common.compiled_key import compiled_key
from search.common.errors import HalvesError, SearchError
from search.doctor import text as data
from search.doctor.database import Opening
from search.doctor.finding import Check, Finding, bad, note, ok
from search.machine.admission import is_reference_compiled, missing_precision, pinned_hardware
from search.machine.hardware import Hardware, compare, detect_hardware
from search.study import study_file as studyfile
from search.study.artifacts import compiled_prefix, study_artifacts
from search.study.identity import refuse_leftovers
from search.study.study import LinkedStudy, exists, load_study
from storage.errors import StorageError
from storage.server.database import Database
from storage.server.embedded import START_SECONDS

if TYPE_CHECKING:
    import torch


def checks(opening: Opening, name: str, device: Callable[[], "torch.device"]) -> list[Check]:
    """Return the check of a study, which may be on another machine's server."""
    return [Check(name="study", look=lambda: examine(opening, name, device), seconds=3.0 * START_SECONDS + 60.0)]


def examine(opening: Opening, name: str, device: Callable[[], "torch.device"]) -> Iterator[Finding]:
    """Check the study as a worker of this machine would find it."""
    try:
        with opening() as database:
            yield from _study(database, name, device)
    except SearchError as error:
        yield bad("study", str(error))
    except (StorageError, OSError):
        yield note("study", "its database doesn't answer: see there")


def _study(database: Database, name: str, device: Callable[[], "torch.device"]) -> Iterator[Finding]:
    named = studyfile.study_name(name)
    if not exists(database, named):
        refuse_leftovers(database, named)
        yield from _not_opened(name)
        return
    try:
        study = load_study(database, named)
    except HalvesError as error:
        yield bad("study", str(error))
        return
    except SearchError as error:
        yield _unreadable(database, named, error)
        return
    yield ok("study", f"{named}: {study.plan.description or 'opened'}")
    yield _hardware(study, device)
    yield from _compiled(study, device)
    yield from _cap(study)
    yield from data.look(study.plan.data)


def _not_opened(name: str) -> Iterator[Finding]:
    """Check the file of a study that isn't in the database."""
    try:
        plan = studyfile.read(name)
    except SearchError as error:
        yield bad("study", f"the database holds none of this name, and {error}", "lilm-search studies")
        return
    yield note("study", f"the database doesn't hold {plan.name} yet", f"lilm-search start --study {name}")
    yield from data.look(plan.data)


def _unreadable(database: Database, name: str, error: SearchError) -> Finding:
    """Return the finding for a plan that can't be read: one of a newer version, or a damaged one."""
    text = optuna.load_study(study_name=name, storage=database.storage).user_attrs.get("plan", "")
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return bad("study", str(error))
    cure = "pip install --upgrade lilm-search: the study was opened by a newer version" if text else ""
    return bad("study", str(error), cure)


def _hardware(study: LinkedStudy, device: Callable[[], "torch.device"]) -> Finding:
    pinned = pinned_hardware(study)
    if missing := missing_precision(study.plan, device):
        return bad("hardware", missing, 'use such a GPU, or start another study with precision = "auto"')
    if pinned is None:
        return ok("hardware", "no worker has begun: the first one's hardware becomes the study's")
    try:
        chosen = device()
        here = detect_hardware(chosen, is_reference_compiled(study, chosen))
        return of_hardware(pinned, here, study.plan.workers.mixed_hardware)
    except ModelError as error:
        return bad("hardware", str(error), "end what fills the GPU's memory: nvidia-smi lists it")


def of_hardware(pinned: Hardware, here: Hardware, mixed: bool) -> Finding:
    """Return the finding on whether the study admits this machine's hardware."""
    comparison = compare(pinned, here)
    if mixed and comparison.scale is not None:
        return ok("hardware", f"{here.label}: the study mixes hardware, budgets × {comparison.scale:.2f}")
    if comparison.refused:
        cure = "rent the study's hardware, or open another study here: start --as NEW-NAME"
        return bad("hardware", comparison.difference, comparison.remedy.rstrip(", ") or cure)
    return ok("hardware", comparison.difference or f"{here.label}, as the study's, reference step {here.speed}")


def _compiled(study: LinkedStudy, device: Callable[[], "torch.device"]) -> Iterator[Finding]:
    """Look for what other workers compiled, where this machine has a key to share it."""
    from model.network.compiled_files import machine_kind
    from search.show.wording import counted

    try:
        if compiled_key() is None:
            return
    except (SearchError, StorageError) as error:
        yield bad("compiled", str(error))
        return
    try:
        files = study_artifacts(study).sizes(compiled_prefix(study.folder, machine_kind(device())))
    except StorageError as error:
        yield note("compiled", f"graphs of other workers can't be looked for: {error}")
        return
    archives = f"{counted(len(files), 'archive')} of compiled graphs, {sum(files.values()) / 1e6:.1f} MB"
    yield ok("compiled", f"{archives}, for this kind of machine; a worker here checks their signatures")


def _cap(study: LinkedStudy) -> Iterator[Finding]:
    from search.analysis.forecast import refused_by_cap
    from search.analysis.snapshot import read

    if not study.plan.cost.max_usd:
        return
    line = refused_by_cap(read(study))
    if not line:
        yield ok("cost", f"below its cap, ${study.plan.cost.max_usd:.2f}")
        return
    sentence, _, _ = line.partition(". ")
    yield bad("cost", sentence, f"lilm-search start --study {study.plan.name} --max-usd N (by the study's owner)")
