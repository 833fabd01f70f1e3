"""The parts of the project that a replay runs: this tree's, or commit 1c68674's, which names them otherwise."""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a tree has what a replay needs, and what a replay puts aside."""

    modules: Mapping[str, str]
    """Modules by their names in this tree; what isn't named is called the same."""
    run: str
    """Class of a claimed trial, in search.worker.trial_run."""
    no_methods: tuple[str, ...]
    """Its methods that would look for files and write some."""
    no_functions: Mapping[str, tuple[str, ...]]
    """Functions by the modules that call them, which write files or show figures."""
    no_facts: Mapping[str, tuple[str, ...]]
    """Likewise functions that return what machine and text are."""
    proxy_hours: bool = True
    """Whether hours can end the proxies, so that what pruning saves buys further ones."""


HERE = Layout(
    modules={},
    run="TrialRun",
    no_methods=("_saved_states", "_save_weights"),
    no_functions={
        "search.worker.worker": ("update_dashboard",),
        "search.worker.trial_run": ("update_dashboard", "update_dashboard_if_due", "record", "keep_record"),
    },
    no_facts={"search.worker.result_attributes": ("run_provenance", "data_hashes")},
)
EARLIER = Layout(
    modules={
        "search.worker.worker": "search.worker",
        "search.worker.trial_run": "search.run",
        "search.study.plan": "search.plan",
        "search.study.study": "search.study",
        "search.study.results": "search.results",
        "search.strategy.pruner": "search.pruner",
        "storage.queue.trial_queue": "storage.claims",
        "model.training.result": "model.report",
    },
    run="Run",
    no_methods=("_find_states", "_save"),
    no_functions={
        "search.worker.worker": ("show",),
        "search.worker.trial_run": ("show", "show_in_turn", "record", "keep_record"),
    },
    no_facts={"search.worker.trial_run": ("of_run", "hashes")},
    proxy_hours=False,
)


@cache
def layout() -> Layout:
    """Return the layout of the tree that is imported from."""
    return EARLIER if importlib.util.find_spec("search.run") else HERE


def module(name: str) -> ModuleType:
    """Return a module by its name in this tree, whichever tree is imported from."""
    return importlib.import_module(layout().modules.get(name, name))


def part(name: str, attribute: str) -> Any:
    """Return a class or function of one of these modules."""
    return getattr(module(name), attribute)
