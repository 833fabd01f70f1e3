"""Pruners by name: those that a replay compares by default, and a user's own, given as NAME=MODULE:CALL."""

import ast
import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner

from search.common.errors import SearchError

OURS, OURS_BY_RISK, OURS_BY_HALVING = "correlation (ours)", "correlation by risk (ours)", "halving (ours)"
"""Names of `CorrelationPruner` in a replay, by its three rules."""
EXAMPLE = "mine=optuna.pruners:MedianPruner(n_startup_trials=8)"


@dataclass(frozen=True)
class PrunerSpec:
    """Instructions to construct a pruner, which each study does in its own process."""

    module: str
    call: str
    """Name of its class in the module."""
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self) -> BasePruner:
        """Return a new pruner; raises what the module or the call raises."""
        kind = getattr(importlib.import_module(self.module), self.call)
        if not (isinstance(kind, type) and issubclass(kind, BasePruner)):  # no other function is called
            raise TypeError(f"{self.call} is no class of pruners, but must be an optuna.pruners.BasePruner")
        return kind(*self.arguments, **self.options)


def default_pruners(last_step: int) -> dict[str, PrunerSpec]:
    """Return Optuna's pruners and ours for runs that end at this step; warm-ups are fractions of it."""

    def from_optuna(call: str, *arguments: Any, **options: Any) -> PrunerSpec:
        return PrunerSpec("optuna.pruners", call, arguments, options)

    def at(fraction: float) -> int:
        return max(1, round(fraction * last_step))

    halving = "SuccessiveHalvingPruner"
    return {
        "none": from_optuna("NopPruner"),
        "median (defaults)": from_optuna("MedianPruner", n_startup_trials=5, n_warmup_steps=0),
        "median, warmup 30%": from_optuna("MedianPruner", n_startup_trials=10, n_warmup_steps=at(0.3)),
        "percentile 25": from_optuna("PercentilePruner", 25.0, n_startup_trials=5, n_warmup_steps=0),
        "ASHA (eta 4, min 5%)": from_optuna(halving, min_resource=at(0.05), reduction_factor=4),
        "ASHA (eta 3, min 15%)": from_optuna(halving, min_resource=at(0.15), reduction_factor=3),
        "hyperband (eta 3)": from_optuna("HyperbandPruner", min_resource=1, max_resource=last_step, reduction_factor=3),
        OURS: PrunerSpec("search", "CorrelationPruner"),
        OURS_BY_RISK: PrunerSpec("search", "CorrelationPruner", options={"rule": "risk"}),
        OURS_BY_HALVING: PrunerSpec("search", "CorrelationPruner", options={"rule": "halving", "look": at(0.25)}),
    }


def brackets(spec: PrunerSpec) -> int | None:
    """Return the number of brackets of a Hyperband pruner as Optuna counts them.

    None for other pruners and for an automatic maximum. Optuna 5.0 takes the floor of a floating-point logarithm, so
    that some maxima, such as 243 for eta 3 and 1000 for eta 10, give one bracket fewer than the exact formula.
    """
    pruner = spec.make()
    if not isinstance(pruner, HyperbandPruner):
        return None
    pruner._try_initialization(optuna.create_study())
    return len(pruner._pruners) or None


def select_pruners(last_step: int, given: Mapping[str, PrunerSpec], only: Sequence[str]) -> dict[str, PrunerSpec]:
    """Return the pruners to compare: the defaults and the given ones, or those of them that `only` names."""
    available = {**default_pruners(last_step), **given}
    for text in only:
        if not any(_named(text, name) for name in available):
            names = ", ".join(available)
            raise SearchError(f'--only is "{text}", but must be part of one of these names: {names}')
    return {n: spec for n, spec in available.items() if not only or any(_named(text, n) for text in only)}


def _named(text: str, name: str) -> bool:
    return text.lower() in name.lower()


def parse_pruners(texts: Sequence[str]) -> dict[str, PrunerSpec]:
    """Return the pruners given as NAME=MODULE:CALL, each constructed once as a check; raises `SearchError`."""
    specs: dict[str, PrunerSpec] = {}
    for text in texts:
        name, spec = _parse(text)
        if name in specs or name in default_pruners(1):
            raise SearchError(f'--pruner names "{name}", but another pruner has that name; choose one of your own')
        specs[name] = spec
    return specs


def _parse(text: str) -> tuple[str, PrunerSpec]:
    match = re.fullmatch(r"\s*([^=:()]+?)\s*=\s*([\w.]+)\s*:(.+)", text, re.DOTALL)
    if not match:
        raise SearchError(f'--pruner is "{text}", but must be NAME=MODULE:CALL, such as {EXAMPLE}')
    name, module, expression = match.groups()
    spec = _parse_call(name, module, expression.strip())
    try:
        spec.make()
    except Exception as error:  # a user's module may raise anything
        raise SearchError(f'--pruner "{name}": {expression.strip()} fails: {_message(error)}') from None
    return name, spec


def _parse_call(name: str, module: str, expression: str) -> PrunerSpec:
    """Read a call with literals as arguments; nothing is evaluated."""
    allowed = f"must be a call with literals as arguments, such as {EXAMPLE.partition(':')[2]}"
    wrong = SearchError(f'--pruner "{name}" is {expression}, but {allowed}')
    try:
        call = ast.parse(expression, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise wrong
        arguments = tuple(ast.literal_eval(a) for a in call.args)
        options = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords if k.arg is not None}
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise wrong from None
    if len(options) < len(call.keywords):
        raise wrong
    return PrunerSpec(module, call.func.id, arguments, options)


def _message(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
