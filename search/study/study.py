"""A lilm-search study: two linked Optuna studies, one of proxy trials and one of confirmation runs, in one Postgres.

Samplers and pruners don't know of fidelities: 30-minute results in the study of 6-minute trials would mislead them. So
the two are kept apart, and linked by attributes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from search.common.errors import SearchError, StudyChangedError
from search.study.identity import (
    REMADE,
    Say,
    confirm_name,
    create_halves,
    halves,
    refuse_leftovers,
    restore_under_lock,
    study_identity,
    study_names,
)
from search.study.plan import Plan
from search.study.trial_attributes import with_valid_attributes
from search.study.trials import BASELINE, BUDGET, GRID, INHERITED, KIND, LR_SCALE, SEED, WHY
from storage.queue.trial_queue import TrialQueue
from storage.server.database import Database

Prime = Callable[[Database, Plan, Say], dict[str, Any]]
"""Returns the results of an earlier study for the pruner of a new one, as attributes of the new study."""

REPORT_BYTES = "report_bytes"
"""Attribute of the study: the bytes of a report that its first worker chose."""

_GROWS = (
    *("proxy.trials", "proxy.repeats"),
    *(f"confirm.{key}" for key in ("top", "random", "widen", "seeds", "max_seeds")),
)
"""Settings that an open study may raise, but not lower."""
_FREE = (
    *("description", "cost.", "workers.", "pruner.", "recipe.", "confirm.scores", "confirm.last_states"),
    *(
        "confirm.prune",
        *(f"{part}.{key}" for part in ("proxy", "confirm") for key in ("max_hours", "max_usd")),
    ),
)
"""Settings, by their beginnings, that an open study may change at will."""


@dataclass(frozen=True)
class LinkedStudy:
    """A plan with its two Optuna studies and the queues of their trials."""

    plan: Plan
    database: Database
    proxies: optuna.Study
    confirmations: optuna.Study
    proxy_queue: TrialQueue
    confirm_queue: TrialQueue
    folder: str
    """Name of its folders on a machine, distinct from that of a study of the same name on another server."""

    @property
    def runs_folder(self) -> str:
        """Name of its folders for files named by confirmation run numbers.

        It differs from `folder` if the confirmation runs were deleted and are numbered from 0 again.
        """
        remade = self.confirmations.user_attrs.get(REMADE)
        valid = isinstance(remade, str) and re.fullmatch("[0-9a-f]{8}", remade)
        return f"{self.folder}-{remade}" if valid else self.folder

    @property
    def queues(self) -> tuple[TrialQueue, TrialQueue]:
        """The queue of proxy trials and that of confirmation runs."""
        return self.proxy_queue, self.confirm_queue

    def release_worker(self, worker: str) -> int:
        """Requeue the trials of a worker that is gone, retrying through outages, and return how many."""
        return sum(self.database.retrying(partial(queue.release_worker, worker)) for queue in self.queues)

    def proxy_trials(self) -> list[FrozenTrial]:
        """Return all proxy trials, in the order of creation."""
        return with_valid_attributes(self.proxies.get_trials(deepcopy=False))

    def confirm_trials(self) -> list[FrozenTrial]:
        """Return all confirmation runs, in the order of creation."""
        return with_valid_attributes(self.confirmations.get_trials(deepcopy=False))

    def proxy_attributes(self) -> Mapping[str, Any]:
        """Return the user attributes of the proxies' study, which holds those of the whole study too."""
        return self.proxies.user_attrs

    def confirm_attributes(self) -> Mapping[str, Any]:
        """Return the user attributes of the confirmation runs' study."""
        return self.confirmations.user_attrs

    def at_one_moment(self) -> "ReadStudy":
        """Return the study with its trials and attributes read now, once and for all."""
        own_fields = {f.name: getattr(self, f.name) for f in fields(LinkedStudy)}
        trials = self.proxy_trials(), self.confirm_trials()
        return ReadStudy(**own_fields, trials=trials, attributes=(self.proxy_attributes(), self.confirm_attributes()))


@dataclass(frozen=True)
class ReadStudy(LinkedStudy):
    """A study whose trials and attributes were read once."""

    trials: tuple[list[FrozenTrial], list[FrozenTrial]]
    """Proxy trials, and confirmation runs."""
    attributes: tuple[Mapping[str, Any], Mapping[str, Any]]
    """User attributes of the proxies' study, and of the confirmation runs'."""

    def proxy_trials(self) -> list[FrozenTrial]:
        """Return what was read."""
        return self.trials[0]

    def confirm_trials(self) -> list[FrozenTrial]:
        """Return what was read."""
        return self.trials[1]

    def proxy_attributes(self) -> Mapping[str, Any]:
        """Return what was read."""
        return self.attributes[0]

    def confirm_attributes(self) -> Mapping[str, Any]:
        """Return what was read."""
        return self.attributes[1]

    def at_one_moment(self) -> "ReadStudy":
        """Return this study: it is read already."""
        return self


def exists(database: Database, name: str) -> bool:
    """Return whether the database holds a study of this name."""
    try:
        database.storage.get_study_id_from_name(name)
    except KeyError:
        return False
    return True


def open_study(database: Database, plan: Plan, say: Say = lambda line: None, prime: Prime | None = None) -> LinkedStudy:
    """Create the study, or resume it if the plan agrees with the stored one.

    Baselines are queued first, as proxies and as confirmation runs. Raises `StudyChangedError` if a change would make
    earlier results incomparable, `HalvesError` if a deleted study left its confirmation runs behind. If the
    confirmation runs' Optuna study was deleted, it is created again, and `say` is called with a note. `prime` returns
    an earlier study's results for the pruner.
    """
    if plan.pruner.primed_by and prime is None:
        raise ValueError("a plan with `primed_by` needs `prime`: search.strategy.priming.prime")
    with database.lock(f"lilm-search/open/{plan.name}"):
        restore_under_lock(database, plan.name, say)
        stored = stored_plan(database, plan.name) if exists(database, plan.name) else None
        if stored is not None:
            plan = _with_report_bytes(stored, plan)
            _refuse_unsafe_changes(stored, plan)
        priming = prime(database, plan, say) if prime else {}
        study = _link(database, plan, *(halves if stored else create_halves)(database, plan.name))
        study.confirmations.set_user_attr("confirms", plan.name)
        study.proxies.set_user_attr("confirmed_in", confirm_name(plan.name))
        for part in (study.proxies, study.confirmations):
            part.set_metric_names(["val_bpb"])
        _enqueue_baselines(study)
        _enqueue_grid(study)
        for key, value in priming.items():
            study.proxies.set_user_attr(key, value)
        # Written last: a study that has a plan is complete.
        study.proxies.set_user_attr("plan", plan.toml())
    return study


def agree(study: LinkedStudy, key: str, value: str) -> str:
    """Return the value that all workers of a study use for this key: the first one that a worker proposed."""
    with study.database.lock(f"lilm-search/agree/{study.plan.name}"):
        stored = study.proxies.user_attrs.get(key)
        if stored is None:
            study.proxies.set_user_attr(key, value)
        return str(stored or value)


def known_name(database: Database, name: str) -> str:
    """Return the name of a study in the database, given the name or its file's path; else raise `SearchError`."""
    name = Path(name).stem if name.endswith(".toml") else name
    if not exists(database, name):
        refuse_leftovers(database, name)
        stored = study_names(database)
        there = f"it holds: {', '.join(stored)}" if stored else "it holds none yet"
        raise SearchError(
            f'no study is named "{name}" in this database; {there}. `lilm-search start --study {name}` makes one.'
        )
    return name


def load_study(database: Database, name: str, wanted: str = "") -> LinkedStudy:
    """Return a study in the database, by its name or its file's path; raises `SearchError` if there is none.

    Also raises it if the study isn't complete, or doesn't have the identity `wanted`.
    """
    plan = stored_plan(database, known_name(database, name))
    study = _link(database, plan, *halves(database, plan.name))
    if wanted not in ("", study_identity(study.proxies)):
        raise SearchError(f'"{plan.name}" is another study now: the one that this worker was started for is deleted')
    return study


def stored_plan(database: Database, name: str) -> Plan:
    """Return the plan that a study was last opened with."""
    attrs = attributes(database, name)
    text, of = attrs.get("plan"), attrs.get("confirms")
    if text is None and of:
        raise SearchError(f'"{name}" holds the confirmation runs of "{of}": name that study, or choose another name')
    if text is None:
        raise SearchError(f'"{name}" was not made by lilm-search (it has no plan); choose another name with --as')
    return Plan.parse(text, name=name, origin=f"the stored plan of {name}", stored=True)


def _link(database: Database, plan: Plan, proxies: optuna.Study, confirmations: optuna.Study) -> LinkedStudy:
    """Return the study made of these halves.

    Its queues refer to them by id from here on: another study may get the name later.
    """
    own_identity = study_identity(proxies)
    # One lock for both: a cost cap depends on all trials.
    queue = partial(
        TrialQueue,
        grace_seconds=plan.workers.grace_seconds,
        inherited=INHERITED,
        lock=plan.name,
        identity=own_identity,
    )
    short, long = (queue(database, p.study_name, study_id=p._study_id) for p in (proxies, confirmations))
    folder = f"{plan.name}-{own_identity[:8]}" if own_identity else plan.name
    return LinkedStudy(plan, database, proxies, confirmations, short, long, folder)


def _enqueue_baselines(study: LinkedStudy) -> None:
    for name, params in study.plan.baselines.items():
        study.proxy_queue.enqueue(dict(params), {BASELINE: name})
        attrs = {BASELINE: name, SEED: study.plan.confirm.first_seed, BUDGET: study.plan.confirm.budget}
        why = "first run: hand-made"
        study.confirm_queue.enqueue(dict(params), attrs | {LR_SCALE: 1.0}, {KIND: "baseline", WHY: why})


def _enqueue_grid(study: LinkedStudy) -> None:
    """Queue the points of a grid, each once before any is repeated."""
    if study.plan.is_grid:
        grid = study.plan.grid()
        for index, seed in study.plan.grid_runs():
            study.proxy_queue.enqueue(grid[index], {GRID: index, SEED: seed})


def known_report_bytes(plan: Plan, attributes: Mapping[str, Any]) -> int | None:
    """Return the bytes of a report, by the plan or the study's attributes; None before the first worker has chosen."""
    chosen = str(attributes.get(REPORT_BYTES, ""))
    return plan.proxy.report_bytes or (int(chosen) if chosen.isdecimal() and int(chosen) else None)


def attributes(database: Database, name: str) -> dict[str, Any]:
    """Return the user attributes of an Optuna study."""
    return optuna.load_study(study_name=name, storage=database.storage).user_attrs


def changes(old: Plan, new: Plan) -> dict[str, tuple[Any, Any]]:
    """Return the keys whose values differ, with the old and the new value."""
    a, b = flattened(old.table()), flattened(new.table())
    return {key: (a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)}


def flattened(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a plan's table with dotted keys; the table of a searched setting stays one value."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and not prefix.startswith("space."):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _with_report_bytes(old: Plan, new: Plan) -> Plan:
    """Return the plan with the stored bytes of a report where its file leaves them out.

    Earlier versions stored the default of their time: those studies go on as they began.
    """
    if new.proxy.report_bytes is not None or old.proxy.report_bytes is None:
        return new
    return replace(new, proxy=replace(new.proxy, report_bytes=old.proxy.report_bytes))


def _refuse_unsafe_changes(old: Plan, new: Plan) -> None:
    unsafe = [
        f"{key} was {before!r}, now {after!r}"
        for key, (before, after) in changes(old, new).items()
        if not key.startswith(_FREE) and not (key in _GROWS and after > before)
    ]
    unsafe += [
        f"[space.{name}] has drawn whole numbers so far: write step = 1 to go on so"
        for name, parameter in old.space.parameters.items()
        if (now := new.space.parameters.get(name)) and now.size is None and parameter.whole
    ]
    if unsafe:
        listed = "; ".join(unsafe[:3]) + (f"; and {len(unsafe) - 3} more" if len(unsafe) > 3 else "")
        raise StudyChangedError(
            f'study "{new.name}" exists with other settings: {listed}. Its results stay as they are: '
            f"start the changed one under another name with --as NEW-NAME."
        )
