"""A study's two halves, recognised by the identity that both carry, never by their names alone.

The halves are the Optuna studies of proxy trials and of confirmation runs. The identity is created with the study and
stored as an attribute of both. Anybody with Optuna's own tools, or the dashboard, may delete one half and leave the
other: a leftover half is refused, neither used nor deleted.
"""

import re
import shlex
import uuid
from collections.abc import Callable

import optuna
import sqlalchemy as sa
from optuna.trial import TrialState

from search.common import paths
from search.common.errors import HalvesError, SearchError
from search.study.trials import trial_params
from storage.access import roles
from storage.server import quick_look
from storage.server.database import Database

Say = Callable[[str], None]
"""Called with a line for the person who runs the command."""
ID = "id"
"""Attribute of both halves: the study's identity, unique among studies on all servers."""
REMADE = "remade"
"""Attribute of a half that was created again: its runs are numbered from 0 again, with other folders for files."""
CONFIRM_SUFFIX = "-confirm"
"""Ending of the name of the Optuna study that holds confirmation runs."""

STUDY_NAMES_SQL = sa.text(
    """
    SELECT study_name FROM studies JOIN study_user_attributes a USING (study_id)
    WHERE a.key = 'plan' ORDER BY study_name
    """
)


def confirm_name(name: str) -> str:
    """Return the name of the Optuna study that holds a study's confirmation runs."""
    return f"{name}{CONFIRM_SUFFIX}"


def study_names(database: Database) -> list[str]:
    """Return the sorted names of all lilm-search studies: those with a plan."""
    with database.engine.connect() as connection:
        return list(connection.execute(STUDY_NAMES_SQL).scalars())


def study_identity(part: optuna.Study) -> str:
    """Return the identity that a half carries; empty if an older version, without identities, created it."""
    stored = part.user_attrs.get(ID)
    return stored if isinstance(stored, str) and re.fullmatch("[0-9a-f]{32}", stored) else ""


def halves(database: Database, name: str) -> tuple[optuna.Study, optuna.Study]:
    """Return a study's proxies and its confirmation runs.

    Raises `HalvesError` if the confirmation runs were deleted or belong to another study.
    """
    proxies, confirmations = _optuna_study(database, name), _optuna_study(database, confirm_name(name))
    if proxies is None:
        raise SearchError(f'no study is named "{name}" in this database any more')
    if confirmations is None:
        raise HalvesError(
            f'the confirmation runs of "{name}" are gone: the Optuna study "{confirm_name(name)}" was deleted. '
            f"`lilm-search start --study {name}` creates it again, empty; the proxies are all here."
        )
    if not are_halves(proxies, confirmations):
        raise HalvesError(_leftover_message(database, name, confirmations))
    return proxies, confirmations


def are_halves(proxies: optuna.Study, confirmations: optuna.Study) -> bool:
    """Return whether two Optuna studies are the halves of one study.

    If one carries no identity, an older version created it. That version created the proxies' half first, so that
    older confirmation runs were there before the study. Nor may a run confirm a proxy that doesn't exist.
    """
    proxies_id, confirmations_id = study_identity(proxies), study_identity(confirmations)
    if proxies_id and confirmations_id:
        return proxies_id == confirmations_id
    later = confirmations._study_id > proxies._study_id
    return later and "plan" not in confirmations.user_attrs and not _contradicted(proxies, confirmations)


def _contradicted(proxies: optuna.Study, confirmations: optuna.Study) -> bool:
    """Return whether a finished run names a proxy that doesn't exist or has other parameters."""
    params = {t.number: trial_params(t) for t in proxies.get_trials(deepcopy=False)}
    runs = [t for t in confirmations.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
    named = [(run.user_attrs["confirms"], run.params) for run in runs if "confirms" in run.user_attrs]
    return any(params.get(number) != given for number, given in named)


def refuse_leftovers(database: Database, name: str) -> None:
    """Raise `HalvesError` if a study was deleted and its confirmation runs are still here."""
    confirmations = _optuna_study(database, confirm_name(name))
    if confirmations is not None and _optuna_study(database, name) is None:
        raise HalvesError(_leftover_message(database, name, confirmations))


def restore(database: Database, name: str, say: Say) -> None:
    """Refuse a deleted study's leftover half under this name, and create a deleted half again."""
    with database.lock(f"lilm-search/open/{name}"):
        restore_under_lock(database, name, say)


def restore_under_lock(database: Database, name: str, say: Say) -> None:
    """Do what `restore` does, for a caller that holds its lock; a half without an identity gets the study's."""
    refuse_leftovers(database, name)
    of = name.removesuffix(CONFIRM_SUFFIX)
    proxies = _optuna_study(database, name)
    if proxies is None and of != name and of in study_names(database):
        raise SearchError(
            f'a study can\'t be named "{name}": under that name the confirmation runs of "{of}" are kept. '
            "Choose another name with --as NEW-NAME."
        )
    if proxies is None or "plan" not in proxies.user_attrs:
        return
    if _optuna_study(database, confirm_name(name)) is None:
        _create_again(database, name, proxies, say)
    proxies, confirmations = halves(database, name)
    if study_identity(proxies) and not study_identity(confirmations):
        confirmations.set_user_attr(ID, study_identity(proxies))


def create_halves(database: Database, name: str) -> tuple[optuna.Study, optuna.Study]:
    """Create and return both halves of a new study, with a new identity."""
    new_identity = uuid.uuid4().hex
    proxies, confirmations = (_create(database, n) for n in (name, confirm_name(name)))
    proxies.set_user_attr(ID, new_identity)
    confirmations.set_user_attr(ID, new_identity)
    return proxies, confirmations


def _create_again(database: Database, name: str, proxies: optuna.Study, say: Say) -> None:
    confirmations = _create(database, confirm_name(name))
    confirmations.set_user_attr(REMADE, uuid.uuid4().hex[:8])
    if study_identity(proxies):
        confirmations.set_user_attr(ID, study_identity(proxies))
    roles.extend(database, proxies._study_id, confirmations._study_id)
    say(f'note: the confirmation runs of "{name}" were deleted: "{confirm_name(name)}" was created again, empty')


def _create(database: Database, name: str) -> optuna.Study:
    return optuna.create_study(study_name=name, storage=database.storage, direction="minimize")


def _optuna_study(database: Database, name: str) -> optuna.Study | None:
    """Return the Optuna study of this name; None if there is none."""
    try:
        return optuna.load_study(study_name=name, storage=database.storage)
    except KeyError:
        return None


def _leftover_message(database: Database, name: str, other: optuna.Study) -> str:
    """Return the reason why an Optuna study can't be a half of the study of this name, and what to do."""
    half = confirm_name(name)
    if "plan" in other.user_attrs:
        what = "it is a study of its own"
    elif "confirms" in other.user_attrs:
        what = f'it holds runs ({len(other.get_trials(deepcopy=False))}) of an earlier study named "{name}"'
    else:
        what = "lilm-search didn't create it"
    return (
        f'the Optuna study "{half}" can\'t hold the confirmation runs of "{name}": {what}. Nothing of '
        f"it is used or deleted. If it isn't needed, delete it {_deletion(database, half)}; or start yours under "
        "another name with --as NEW-NAME."
    )


def _deletion(database: Database, name: str) -> str:
    """Return instructions to delete an Optuna study.

    `optuna` can't reach the embedded server, which runs only during our own commands.
    """
    url, embedded = database.engine.url, quick_look.embedded_settings(paths.home() / "postgres")
    if embedded and (url.host, url.port) == (embedded["host"], embedded["port"]):
        return "in `lilm-search dashboard`"
    address = url.set(drivername="postgresql+psycopg2", query={}).render_as_string()
    command = f"optuna delete-study --study-name {shlex.quote(name)} --storage {address}"
    return f"(`{command}`, or in `lilm-search dashboard`)"
