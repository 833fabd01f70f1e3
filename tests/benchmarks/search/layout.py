"""The parts of the project that a replay runs: this tree's, or an earlier commit's, which names them otherwise."""

import importlib
from types import ModuleType
from typing import Any

EARLIER = {
    "search.worker.worker": "search.worker",
    "search.worker.trial_run": "search.run",
    "search.study.plan": "search.plan",
    "search.study.study": "search.study",
    "search.study.results": "search.results",
    "search.strategy.pruner": "search.pruner",
    "storage.queue.trial_queue": "storage.claims",
    "model.training.result": "model.report",
    "model.training.train": "model.train",
    "model.errors": "model.errors",
}
"""Modules by their names here, and as of commit 1c68674."""


def module(name: str) -> ModuleType:
    """Return a module by its name in this tree, whichever tree is imported from."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):  # of another module, which this one needs
            raise
        return importlib.import_module(EARLIER[name])


def part(name: str, attribute: str) -> Any:
    """Return a class or function of one of these modules."""
    return getattr(module(name), attribute)
