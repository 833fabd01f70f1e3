"""A study's files, as the command `artifacts` lists and downloads them."""

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

MOST_SUGGESTED = 3
"""Number of existing names that are suggested for one that doesn't exist."""


def listing(study: LinkedStudy, trial: int | None = None, confirmation: int | None = None) -> list[str]:
    """Return a line for each file: its run, its name, and its size if the database stores it."""
    chosen = _chosen(study, trial, confirmation)
    store = study_artifacts(study)
    sizes = store.sizes() if isinstance(store, PostgresArtifactStore) else {}
    lines = [
        f"{owner:<18}{plain_line(file.filename):<36}{_size(sizes.get(file.artifact_id))}" for owner, file in chosen
    ]
    total = sum(sizes.get(file.artifact_id, 0) for _, file in chosen)
    place = "the study's database" if isinstance(store, PostgresArtifactStore) else study.plan.workers.artifacts
    return [*lines, f"{len(chosen)} files in {place}" + (f", {_size(total).strip()}" if total else "")]


def download_file(study: LinkedStudy, name: str, trial: int | None, confirmation: int | None, out: Path) -> str:
    """Write a study's file of this name to `out`, completely or not at all; return its size in words.

    Raises `SearchError` if there is no such file, or `out` exists already or can't be written.
    """
    matching = [file for _, file in _chosen(study, trial, confirmation) if file.filename == name]
    if not matching:
        hint = plain_line(_nearest_names(name, {file.filename for _, file in _chosen(study, trial, confirmation)}))
        how_to_list = f"`lilm-search artifacts --study {study.plan.name}` lists all"
        raise SearchError(f'--get is "{name}", but {study.plan.name} has no such file here; {hint}; {how_to_list}')
    try:
        with (
            out_file.writing(out, new=" already; name another file") as unfinished,
            study_artifacts(study).open_reader(matching[0].artifact_id) as source,
            unfinished.open("wb") as target,
        ):
            shutil.copyfileobj(source, target)
    except ArtifactNotFound:
        raise SearchError(f"{name} is listed, but its content is gone: it was removed") from None
    return f"{_size(out.stat().st_size).strip()}, written to {out}"


def _nearest_names(name: str, names: Collection[str]) -> str:
    """Return the existing names most like a missing one, or all names if there are few."""
    lower = {existing.lower(): existing for existing in names}
    matches = difflib.get_close_matches(name.lower(), lower, MOST_SUGGESTED, 0.3)
    near = sorted(names) if len(names) <= MOST_SUGGESTED else [lower[existing] for existing in matches]
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
    chosen = []
    for part, wanted, proxy in ((study.proxies, trial, True), (study.confirmations, confirmation, False)):
        for file in artifact_files(part):
            if everything or (wanted is not None and file.trial == wanted):
                owner = "study" if file.trial is None else run_label(proxy, file.trial)
                chosen.append((owner, file))
    return chosen


def _size(size: int | None) -> str:
    return "" if size is None else f"{size / MEGABYTE:9.3f} MB"
