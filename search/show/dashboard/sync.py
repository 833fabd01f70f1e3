"""Synchronization with optuna-dashboard: results, notes and figures, stored in the studies where it shows them."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import optuna
from optuna_dashboard._custom_plot_data import SYSTEM_ATTR_PLOT_DATA, split_plot_data
from optuna_dashboard._note import note_str_key_prefix, note_ver_key, split_body

from search.analysis.snapshot import Snapshot, read
from search.show.dashboard.study_note import study_note
from search.show.dashboard.trial_notes import run_notes, trial_notes
from search.study.results import Confirmed
from search.study.study import LinkedStudy
from storage.errors import first_line
from storage.registry.study_attributes import take_turn, write_attributes

Say = Callable[[str], None]
UPDATE_SECONDS = 180.0
"""Least seconds between two updates of the dashboard while proxies run, by any of the workers."""
LAST_UPDATE = "dashboard:lilm-search:shown"
"""Key of the study attribute with the time of the last such update, by the server's clock."""
DIGEST = "dashboard:lilm-search:of"
"""Key of the study attribute with the digest of the state that notes and figures were made from."""
NOTE_END = "\n\n[//]: # (lilm-search keeps what is above; write below)"
"""End of our part of a note, which Markdown doesn't show. What people write below it is kept."""
OLD_NOTE_BEGINNINGS = ("**Confirmed at ", "### Confirmed\n")
"""Beginnings of our notes that earlier versions wrote without `NOTE_END`."""


def sync_notes(study: LinkedStudy) -> Snapshot:
    """Write an attribute for each confirmed configuration, and the notes; return the snapshot that they are made from.

    In Optuna a finished trial's attributes can't be changed, but a study's attributes and notes can. What is stored
    already isn't written again.
    """
    with _lock(study):
        return _sync_notes(study)


def _lock(study: LinkedStudy) -> AbstractContextManager[None]:
    return study.database.lock(f"lilm-search/log-back/{study.plan.name}")


def _sync_notes(study: LinkedStudy) -> Snapshot:
    snapshot = read(study)
    stored = study.proxies.user_attrs
    for entry in snapshot.confirmed:
        if stored.get(_attribute_key(entry)) != _confirmed_attribute(entry):
            study.proxies.set_user_attr(_attribute_key(entry), _confirmed_attribute(entry))
    _store_notes(study, study.proxies, trial_notes(snapshot), study_note(snapshot))
    if snapshot.runs:
        study_text = f"Long runs of `{study.plan.name}`, whose note and figures show their results."
        _store_notes(study, study.confirmations, run_notes(snapshot), study_text)
    return snapshot


def update_dashboard(study: LinkedStudy, say: Say, retrying: Callable[[Callable[[], None]], None]) -> None:
    """Write notes and figures; never raises. `retrying` calls a function again while the database is away."""
    with _failure_reported("what optuna-dashboard shows is not up to date", study, say):
        retrying(lambda: update_if_changed(study))


def update_dashboard_if_due(study: LinkedStudy, say: Say) -> None:
    """Write notes and figures unless a worker has done so within `UPDATE_SECONDS`; never raises."""
    with _failure_reported("what optuna-dashboard shows is not up to date", study, say):
        if take_turn(study.database, study.proxies._study_id, LAST_UPDATE, UPDATE_SECONDS):
            update_if_changed(study)


def update_if_changed(study: LinkedStudy) -> None:
    """Write notes and figures, unless they are up to date with all trials.

    At a study's end all its workers call this at once: one writes while the others wait for its lock, and then find
    nothing to write. If that one is lost, so is its lock, and the next one writes.
    """
    parts = (study.proxies, study.confirmations)
    with _lock(study):
        state, stored = _state(study), [_stored(study, part) for part in parts]
        if stored[0].get(DIGEST) == _digest(state, stored):
            return
        save_figures(study, _sync_notes(study))
        digest = _digest(state, [_stored(study, part) for part in parts])
        with study.database.engine.begin() as connection:
            write_attributes(connection, study.proxies._study_id, {DIGEST: digest})


def _state(study: LinkedStudy) -> list[Any]:
    """Return the state that notes and figures depend on: the plan, and all trials' states."""
    trials = (study.proxy_trials(), study.confirm_trials())
    return [study.proxies.user_attrs.get("plan"), *([[t.number, t.state.name] for t in part] for part in trials)]


def _digest(state: list[Any], stored: Sequence[Mapping[str, Any]]) -> str:
    """Return a digest of a state and of the notes' versions, which rise when people edit notes."""
    notes = [{k: v for k, v in attributes.items() if k.endswith("note_ver")} for attributes in stored]
    return hashlib.sha256(json.dumps([state, notes], sort_keys=True).encode()).hexdigest()


def save_figures(study: LinkedStudy, snapshot: Snapshot) -> None:
    """Store the figures in the study of proxies: all that have changed, or none."""
    from search.show.dashboard.figures import saved_figures

    figures = saved_figures(snapshot)
    with study.database.atomic(f"lilm-search/figures/{study.plan.name}") as connection:
        stored, changes = _stored(study, study.proxies), dict[str, Any]()
        for name, figure in figures.items():
            prefix, text = f"{SYSTEM_ATTR_PLOT_DATA}{name}:", figure.to_json()
            pieces = _pieces(stored, prefix)
            if "".join(pieces) != text:
                changes |= {f"{prefix}{i}": "" for i in range(len(pieces))} | split_plot_data(text, prefix)
        write_attributes(connection, study.proxies._study_id, changes)


def _store_notes(study: LinkedStudy, part: optuna.Study, notes: Mapping[int, str], study_text: str) -> None:
    """Write the notes that have changed, of trials by their ids and of the study, in one statement."""
    stored = _stored(study, part)
    changes: dict[str, Any] = {}
    for trial_id, text in ((None, study_text), *notes.items()):
        pieces = _pieces(stored, note_str_key_prefix(trial_id))
        body = text + NOTE_END + _written_by_people("".join(pieces))
        if body != "".join(pieces):
            version = _version(stored.get(note_ver_key(trial_id))) + 1
            emptied = {f"{note_str_key_prefix(trial_id)}{i}": "" for i in range(len(pieces))}
            changes |= {**emptied, **split_body(body, trial_id), note_ver_key(trial_id): version}
    if changes:
        with study.database.engine.begin() as connection:
            write_attributes(connection, part._study_id, changes)


def _stored(study: LinkedStudy, part: optuna.Study) -> dict[str, Any]:
    return study.database.storage.get_study_system_attrs(part._study_id)


def _version(stored: object) -> int:
    """Return a note's version; 0 if it is no valid one, since anyone who may write notes may store anything."""
    return stored if isinstance(stored, int) and 0 <= stored < 2**53 else 0


def _pieces(stored: Mapping[str, Any], prefix: str) -> list[str]:
    """Return the stored pieces of a note or a figure, in order."""
    pieces = list[str]()
    while f"{prefix}{len(pieces)}" in stored:
        pieces.append(str(stored[f"{prefix}{len(pieces)}"]))
    return pieces


def _written_by_people(body: str) -> str:
    """Return the part of a note that people wrote."""
    _, mark, text = body.partition(NOTE_END)
    if mark:
        return text
    return f"\n\n{body}" if body and not body.startswith(OLD_NOTE_BEGINNINGS) else ""


@contextmanager
def _failure_reported(what: str, study: LinkedStudy, say: Say) -> Iterator[None]:
    """Print an error of the block instead of raising it: the dashboard is no reason to lose a trial."""
    try:
        yield
    except Exception as error:
        study.database.forget_session()
        say(f"note: {what}: {first_line(error)}")


def _attribute_key(entry: Confirmed) -> str:
    return f"confirmed:{entry.key}"


def _confirmed_attribute(entry: Confirmed) -> dict[str, Any]:
    return {
        "bpb": entry.mean_bpb,
        "seeds": {str(k): v for k, v in sorted(entry.bpb_by_seed.items())},
        "proxy_bpb": entry.proxy_bpb,
        "proxy_trial": entry.proxy_number,
        "baseline": entry.baseline,
        "lr_scale": entry.lr_scale,
    }
