"""Log back: what is known so far, written into the studies where optuna-dashboard shows it: notes and figures."""

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
EVERY_SECONDS = 180.0
"""How often at most the dashboard is brought up to date while proxies run, by whoever comes first."""
TURN = "dashboard:lilm-search:shown"
"""Attribute of a study: when that was, by the server's clock."""
SHOWN = "dashboard:lilm-search:of"
"""Attribute of a study: digest of what its notes and figures are of."""
YOURS = "\n\n[//]: # (lilm-search keeps what is above; write below)"
"""Ends our part of a note; Markdown doesn't show it. What people write below it stays."""
UNMARKED = ("**Confirmed at ", "### Confirmed\n")
"""How our notes of versions without that mark begin."""


def log_back(study: LinkedStudy) -> Snapshot:
    """Write what is known so far: an attribute for each confirmed configuration, and the notes.

    A finished trial's attributes can't change in Optuna; a study's attributes and notes can. What is there already
    isn't written again.
    """
    with _lock(study):
        return _log_back(study)


def _lock(study: LinkedStudy) -> AbstractContextManager[None]:
    return study.database.lock(f"lilm-search/log-back/{study.plan.name}")


def _log_back(study: LinkedStudy) -> Snapshot:
    facts = read(study)
    stored = study.proxies.user_attrs
    for entry in facts.confirmed:
        if stored.get(_key(entry)) != _record(entry):
            study.proxies.set_user_attr(_key(entry), _record(entry))
    _write_notes(study, study.proxies, trial_notes(facts), study_note(facts))
    if facts.runs:
        about = f"Long runs of `{study.plan.name}`, whose note and figures tell what came out of them."
        _write_notes(study, study.confirmations, run_notes(facts), about)
    return facts


def show(study: LinkedStudy, say: Say, retrying: Callable[[Callable[[], None]], None]) -> None:
    """Log back, with the figures; never raises. `retrying` calls through absences of the database."""
    with _said("what optuna-dashboard shows is not up to date", study, say):
        retrying(lambda: bring_up_to_date(study))


def show_in_turn(study: LinkedStudy, say: Say) -> None:
    """The same where nobody has lately; never raises."""
    with _said("what optuna-dashboard shows is not up to date", study, say):
        if take_turn(study.database, study.proxies._study_id, TURN, EVERY_SECONDS):
            bring_up_to_date(study)


def bring_up_to_date(study: LinkedStudy) -> None:
    """Log back, with the figures, unless another has since the last trial changed.

    At a study's end all its workers come here at once: one draws, the others wait for it, find nothing to add, and go.
    Should it be lost on the way, its lock is, and the next one draws.
    """
    parts = (study.proxies, study.confirmations)
    with _lock(study):
        state, stored = _state(study), [_stored(study, part) for part in parts]
        if stored[0].get(SHOWN) == _digest(state, stored):
            return
        save_figures(study, _log_back(study))
        shown = _digest(state, [_stored(study, part) for part in parts])
        with study.database.engine.begin() as connection:
            write_attributes(connection, study.proxies._study_id, {SHOWN: shown})


def _state(study: LinkedStudy) -> list[Any]:
    """Return what notes and figures depend on: an ended trial doesn't change any more."""
    trials = (study.proxy_trials(), study.confirm_trials())
    return [study.proxies.user_attrs.get("plan"), *([[t.number, t.state.name] for t in part] for part in trials)]


def _digest(state: list[Any], stored: Sequence[Mapping[str, Any]]) -> str:
    """Return a digest of a state and of the notes' versions, which rise where people write into them."""
    notes = [{k: v for k, v in attributes.items() if k.endswith("note_ver")} for attributes in stored]
    return hashlib.sha256(json.dumps([state, notes], sort_keys=True).encode()).hexdigest()


def save_figures(study: LinkedStudy, facts: Snapshot) -> None:
    """Save the figures into the study of proxies: all that have changed, or none."""
    from search.show.dashboard.figures import saved_figures

    figures = saved_figures(facts)
    with study.database.atomic(f"lilm-search/figures/{study.plan.name}") as connection:
        stored, changed = _stored(study, study.proxies), dict[str, Any]()
        for name, figure in figures.items():
            prefix, text = f"{SYSTEM_ATTR_PLOT_DATA}{name}:", figure.to_json()
            pieces = _pieces(stored, prefix)
            if "".join(pieces) != text:
                changed |= {f"{prefix}{i}": "" for i in range(len(pieces))} | split_plot_data(text, prefix)
        write_attributes(connection, study.proxies._study_id, changed)


def _write_notes(study: LinkedStudy, part: optuna.Study, notes: Mapping[int, str], own: str) -> None:
    """Write those notes that have changed, of trials by their ids and the study's own, in one statement."""
    stored = _stored(study, part)
    changed: dict[str, Any] = {}
    for trial_id, text in ((None, own), *notes.items()):
        pieces = _pieces(stored, note_str_key_prefix(trial_id))
        body = text + YOURS + _theirs("".join(pieces))
        if body != "".join(pieces):
            version = _version(stored.get(note_ver_key(trial_id))) + 1
            emptied = {f"{note_str_key_prefix(trial_id)}{i}": "" for i in range(len(pieces))}
            changed |= {**emptied, **split_body(body, trial_id), note_ver_key(trial_id): version}
    if changed:
        with study.database.engine.begin() as connection:
            write_attributes(connection, part._study_id, changed)


def _stored(study: LinkedStudy, part: optuna.Study) -> dict[str, Any]:
    return study.database.storage.get_study_system_attrs(part._study_id)


def _version(stored: object) -> int:
    """Return a note's version; anything may be stored as one by whoever may write a note."""
    return stored if isinstance(stored, int) and 0 <= stored < 2**53 else 0


def _pieces(stored: Mapping[str, Any], prefix: str) -> list[str]:
    """Return the pieces of a note or a figure as it is stored, in their order."""
    found = list[str]()
    while f"{prefix}{len(found)}" in stored:
        found.append(str(stored[f"{prefix}{len(found)}"]))
    return found


def _theirs(body: str) -> str:
    """Return what people wrote into a note."""
    _, mark, below = body.partition(YOURS)
    if mark:
        return below
    return f"\n\n{body}" if body and not body.startswith(UNMARKED) else ""


@contextmanager
def _said(what: str, study: LinkedStudy, say: Say) -> Iterator[None]:
    """Say what went wrong in the block, and go on: what people see is no reason to lose a trial."""
    try:
        yield
    except Exception as error:
        study.database.forget_session()
        say(f"note: {what}: {first_line(error)}")


def _key(entry: Confirmed) -> str:
    return f"confirmed:{entry.key}"


def _record(entry: Confirmed) -> dict[str, Any]:
    return {
        "bpb": entry.mean_bpb,
        "seeds": {str(k): v for k, v in sorted(entry.bpb_by_seed.items())},
        "proxy_bpb": entry.proxy_bpb,
        "proxy_trial": entry.proxy_number,
        "baseline": entry.baseline,
        "lr_scale": entry.lr_scale,
    }
