"""A study's files for people: listed, and brought here."""

import difflib
import shutil
from collections.abc import Collection
from pathlib import Path

from optuna.artifacts.exceptions import ArtifactNotFound

from search.common import out_file
from search.common.errors import SearchError
from search.common.safe_text import plain_line
from search.export.runs import check_number
from search.study.artifacts import ArtifactFile, artifact_files, study_artifacts
from search.study.study import LinkedStudy
from search.study.trials import run_label
from storage.artifacts.postgres import MEGABYTE, PostgresArtifactStore

NEAREST = 3
"""Names that are offered for one that there is not."""


def listing(study: LinkedStudy, trial: int | None = None, confirmation: int | None = None) -> list[str]:
    """Return a line for each file: whose it is, its name, its size where the database keeps it."""
    found = _chosen(study, trial, confirmation)
    store = study_artifacts(study)
    sizes = store.sizes() if isinstance(store, PostgresArtifactStore) else {}
    lines = [f"{owner:<18}{plain_line(file.filename):<36}{_size(sizes.get(file.artifact_id))}" for owner, file in found]
    total = sum(sizes.get(file.artifact_id, 0) for _, file in found)
    place = "the study's database" if isinstance(store, PostgresArtifactStore) else study.plan.workers.artifacts
    return [*lines, f"{len(found)} files in {place}" + (f", {_size(total).strip()}" if total else "")]


def bring(study: LinkedStudy, name: str, trial: int | None, confirmation: int | None, out: Path) -> str:
    """Write the file of this name to `out`, whole or not at all; returns its size in words.

    Raises `SearchError` where there is no such file, or `out` exists already or can't be written.
    """
    found = [file for _, file in _chosen(study, trial, confirmation) if file.filename == name]
    if not found:
        there = plain_line(_there(name, {file.filename for _, file in _chosen(study, trial, confirmation)}))
        every = f"`lilm-search artifacts --study {study.plan.name}` lists all"
        raise SearchError(f'--get is "{name}", but {study.plan.name} has no such file here; {there}; {every}')
    try:
        with (
            out_file.writing(out, new=" already; name another file") as unfinished,
            study_artifacts(study).open_reader(found[0].artifact_id) as source,
            unfinished.open("wb") as target,
        ):
            shutil.copyfileobj(source, target)
    except ArtifactNotFound:
        raise SearchError(f"{name} is listed, but its content is gone: it was removed") from None
    return f"{_size(out.stat().st_size).strip()}, written to {out}"


def _there(name: str, names: Collection[str]) -> str:
    """Return the names most like one that isn't among them; all of them where they are few."""
    lower = {each.lower(): each for each in names}
    alike = difflib.get_close_matches(name.lower(), lower, NEAREST, 0.3)
    near = sorted(names) if len(names) <= NEAREST else [lower[each] for each in alike]
    if not near:
        return f"none of its {len(names)} is called alike" if names else "there are none"
    return f"{'there are' if len(near) == len(names) else 'nearest'}: {', '.join(near)}"


def _chosen(study: LinkedStudy, trial: int | None, confirmation: int | None) -> list[tuple[str, ArtifactFile]]:
    if trial is not None and confirmation is not None:
        raise SearchError(f"--trial is {trial} and --confirmation {confirmation}, but a file is of one; leave one out")
    if trial is not None:
        check_number("--trial", trial, study.proxy_trials())
    if confirmation is not None:
        check_number("--confirmation", confirmation, study.confirm_trials())
    everything = trial is None and confirmation is None
    found = []
    for part, wanted, proxy in ((study.proxies, trial, True), (study.confirmations, confirmation, False)):
        for file in artifact_files(part):
            if everything or (wanted is not None and file.trial == wanted):
                owner = "study" if file.trial is None else run_label(proxy, file.trial)
                found.append((owner, file))
    return found


def _size(size: int | None) -> str:
    return "" if size is None else f"{size / MEGABYTE:9.3f} MB"
