"""Which two Optuna studies are one study of ours: by the identity that both bear, never by their names alone.

A study's identity is made when it is opened and stands on both halves. Anybody with Optuna's own tools, or the
dashboard, may delete one half and leave the other: what is left over is refused, neither used nor deleted.
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
from search.study.trials import given_to
from storage.access import roles
from storage.server import quick_look as glance
from storage.server.database import Database

Say = Callable[[str], None]
ID = "id"
"""Attribute of both halves: who the study is, whatever others, here or on other servers, are called."""
REMADE = "remade"
"""Attribute of a half that was made anew: its runs are numbered from 0 again, and their files lie elsewhere."""
SUFFIX = "-confirm"

NAMES = sa.text(
    """
    SELECT study_name FROM studies JOIN study_user_attributes a USING (study_id)
    WHERE a.key = 'plan' ORDER BY study_name
    """
)


def confirm_name(name: str) -> str:
    """Return the name of the Optuna study that holds a study's confirmation runs."""
    return f"{name}{SUFFIX}"


def names(database: Database) -> list[str]:
    """Return the names of all studies of ours, by name: those with a plan."""
    with database.engine.connect() as connection:
        return list(connection.execute(NAMES).scalars())


def identity(part: optuna.Study) -> str:
    """Return the identity that a half bears; empty for one from before there were any."""
    known = part.user_attrs.get(ID)
    return known if isinstance(known, str) and re.fullmatch("[0-9a-f]{32}", known) else ""


def halves(database: Database, name: str) -> tuple[optuna.Study, optuna.Study]:
    """Return a study's proxies and its confirmation runs; raises `HalvesError` where these are gone or another's."""
    proxies, confirmations = _found(database, name), _found(database, confirm_name(name))
    if proxies is None:
        raise SearchError(f'no study is named "{name}" in this database any more')
    if confirmations is None:
        raise HalvesError(
            f'the confirmation runs of "{name}" are gone: the Optuna study "{confirm_name(name)}" was deleted. '
            f"`lilm-search start --study {name}` makes it anew, empty; the proxies are all here."
        )
    if not belong(proxies, confirmations):
        raise HalvesError(_leftover(database, name, confirmations))
    return proxies, confirmations


def belong(proxies: optuna.Study, confirmations: optuna.Study) -> bool:
    """Return whether two Optuna studies are the halves of one study.

    Where one bears no identity, an older version opened it, which made the proxies' half first: one of confirmation
    runs that is older than it was there before the study. Nor may a run confirm a proxy that there is not.
    """
    mine, its = identity(proxies), identity(confirmations)
    if mine and its:
        return mine == its
    later = confirmations._study_id > proxies._study_id
    return later and "plan" not in confirmations.user_attrs and not _contradicted(proxies, confirmations)


def _contradicted(proxies: optuna.Study, confirmations: optuna.Study) -> bool:
    """Return whether a finished run claims to confirm a proxy that isn't there, or has other parameters."""
    params = {t.number: given_to(t) for t in proxies.get_trials(deepcopy=False)}
    runs = [t for t in confirmations.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
    claims = [(run.user_attrs["confirms"], run.params) for run in runs if "confirms" in run.user_attrs]
    return any(params.get(number) != given for number, given in claims)


def refuse_leftovers(database: Database, name: str) -> None:
    """Raise `HalvesError` where a study is gone whose confirmation runs are still here."""
    confirmations = _found(database, confirm_name(name))
    if confirmations is not None and _found(database, name) is None:
        raise HalvesError(_leftover(database, name, confirmations))


def restore(database: Database, name: str, say: Say) -> None:
    """Refuse what an earlier study left under a name, and make a half anew that was deleted."""
    with database.lock(f"lilm-search/open/{name}"):
        settle(database, name, say)


def settle(database: Database, name: str, say: Say) -> None:
    """Do so under the lock of whoever opens the study; a half of an older version is marked as the study's."""
    refuse_leftovers(database, name)
    of = name.removesuffix(SUFFIX)
    proxies = _found(database, name)
    if proxies is None and of != name and of in names(database):
        raise SearchError(
            f'a study can\'t be named "{name}": there the confirmation runs of "{of}" are kept. '
            "Choose another name with --as NEW-NAME."
        )
    if proxies is None or "plan" not in proxies.user_attrs:
        return
    if _found(database, confirm_name(name)) is None:
        _make_anew(database, name, proxies, say)
    proxies, confirmations = halves(database, name)
    if identity(proxies) and not identity(confirmations):
        confirmations.set_user_attr(ID, identity(proxies))


def make(database: Database, name: str) -> tuple[optuna.Study, optuna.Study]:
    """Return both halves of a new study, with an identity of its own."""
    known = uuid.uuid4().hex
    proxies, confirmations = (_create(database, n) for n in (name, confirm_name(name)))
    proxies.set_user_attr(ID, known)
    confirmations.set_user_attr(ID, known)
    return proxies, confirmations


def _make_anew(database: Database, name: str, proxies: optuna.Study, say: Say) -> None:
    confirmations = _create(database, confirm_name(name))
    confirmations.set_user_attr(REMADE, uuid.uuid4().hex[:8])
    if identity(proxies):
        confirmations.set_user_attr(ID, identity(proxies))
    roles.extend(database, proxies._study_id, confirmations._study_id)
    say(f'note: the confirmation runs of "{name}" were deleted: "{confirm_name(name)}" is made anew, empty')


def _create(database: Database, name: str) -> optuna.Study:
    return optuna.create_study(study_name=name, storage=database.storage, direction="minimize")


def _found(database: Database, name: str) -> optuna.Study | None:
    """Return the Optuna study of this name, where there is one."""
    try:
        return optuna.load_study(study_name=name, storage=database.storage)
    except KeyError:
        return None


def _leftover(database: Database, name: str, there: optuna.Study) -> str:
    """Return why an Optuna study can't be the half of a study, and what to do."""
    half = confirm_name(name)
    if "plan" in there.user_attrs:
        what = "it is a study of its own"
    elif "confirms" in there.user_attrs:
        what = f'it holds runs ({len(there.get_trials(deepcopy=False))}) of an earlier study named "{name}"'
    else:
        what = "lilm-search didn't make it"
    return (
        f'the Optuna study "{half}", where the confirmation runs of "{name}" belong, is another\'s: {what}. Nothing of '
        f"it is used or deleted. If it isn't needed, delete it {_deletion(database, half)}; or start yours under "
        "another name with --as NEW-NAME."
    )


def _deletion(database: Database, name: str) -> str:
    """Return how a person deletes an Optuna study: this machine's own server runs only while a command of ours does."""
    url, here = database.engine.url, glance.running(paths.home() / "postgres")
    if here and (url.host, url.port) == (here["host"], here["port"]):
        return "in `lilm-search dashboard`"
    address = url.set(drivername="postgresql+psycopg2", query={}).render_as_string()
    command = f"optuna delete-study --study-name {shlex.quote(name)} --storage {address}"
    return f"(`{command}`, or in `lilm-search dashboard`)"
