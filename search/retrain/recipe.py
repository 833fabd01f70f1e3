"""The recipe: what a careful person does without a search. It is a baseline for one, and often good enough.

Depth from measured speed, five learning rates at a fifth of the budget each, then one run with the best of them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from model.errors import DeviceMemoryError, DivergedError
from model.network.flops import count_active_parameters, count_parameters
from model.training.result import Result
from search.common.durations import format_duration
from search.common.network_size import parameters_text
from search.study.plan import Configuration, Plan

Say = Callable[[str], None]
MEASURING_LR = 1e-6
"""Learning rate while speed is measured: it doesn't change the time of a step, and so low a rate never diverges."""


class Trainer(Protocol):
    """A function that trains a configuration for so many seconds; with `measuring`, only its speed is wanted."""

    def __call__(self, configuration: Configuration, seconds: float, *, measuring: bool = False) -> Result: ...  # noqa: D102


@dataclass(frozen=True)
class MeasuredDepth:
    """A depth with its measured speed."""

    n_layer: int
    n_params: int
    tokens_per_second: float
    tokens_per_param: float
    """Tokens that can be trained on in the whole budget ÷ parameters."""


def deepest(
    measure: Callable[[int], MeasuredDepth], target: float, most: int
) -> tuple[MeasuredDepth, list[MeasuredDepth]]:
    """Return the largest number of layers, 1 … `most`, whose tokens per parameter reach `target`; and all measurements.

    Tokens per parameter fall with depth: the depth is doubled until they are below the target, then found by bisection,
    in about 2 · log₂(depth) measurements. If one layer doesn't reach the target either, it is returned.
    """
    measured: dict[int, MeasuredDepth] = {}

    def reaches(n_layer: int) -> bool:
        measured[n_layer] = measure(n_layer)
        return measured[n_layer].tokens_per_param >= target

    low, high = 0, 1
    while high <= most and reaches(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reaches(middle) else (low, middle)
    return measured[max(low, 1)], list(measured.values())


@dataclass(frozen=True)
class TriedRate:
    """A learning rate with the BPB of its run; None if the run diverged."""

    max_lr: float
    val_bpb: float | None


@dataclass(frozen=True)
class RecipeResult:
    """The recipe's configuration with its long run, and the measurements that led to it."""

    configuration: Configuration
    result: Result
    depths: tuple[MeasuredDepth, ...]
    rates: tuple[TriedRate, ...]


def run_recipe(plan: Plan, budget_seconds: float, trainer: Trainer, say: Say) -> RecipeResult:
    """Go through the recipe's stages and return what it ends with; raises `DivergedError` if all rates diverged."""
    start = starting_point(plan)
    depth, depths = _choose_depth(plan, start, budget_seconds, trainer, say)
    chosen = replace(start, model=replace(start.model, n_layer=depth.n_layer))
    rates = _try_rates(plan, chosen, budget_seconds, trainer, say)
    best = _best(rates)
    if edge := at_edge(best, rates):
        say(f"  {edge}")
    chosen = replace(chosen, train=replace(chosen.train, max_lr=best.max_lr))
    say(f"the long run: {depth.n_layer} layers, max_lr {best.max_lr:g}, {format_duration(budget_seconds)}")
    result = trainer(chosen, budget_seconds)
    chosen = replace(chosen, train=replace(chosen.train, micro_batch=result.micro_batch))
    return RecipeResult(chosen, result, tuple(depths), tuple(rates))


def starting_point(plan: Plan) -> Configuration:
    """Return the study's first baseline, or its fixed settings, with the whole batch as its first micro-batch."""
    configuration = plan.configuration(next(iter(plan.baselines.values()), {}))
    return replace(configuration, train=replace(configuration.train, micro_batch=configuration.train.batch_size))


def _choose_depth(
    plan: Plan, start: Configuration, budget_seconds: float, trainer: Trainer, say: Say
) -> tuple[MeasuredDepth, list[MeasuredDepth]]:
    target = plan.recipe.tokens_per_param
    say(f"depth: as many layers as leave {target:g} tokens per parameter in {format_duration(budget_seconds)}")

    def measure(n_layer: int) -> MeasuredDepth:
        model = replace(start.model, n_layer=n_layer)
        n_params = count_parameters(model, start.tokenizer.vocab_size)
        active = count_active_parameters(model, start.tokenizer.vocab_size)
        try:
            train_config = replace(start.train, max_lr=MEASURING_LR)
            run = trainer(replace(start, model=model, train=train_config), plan.recipe.measure_seconds, measuring=True)
            speed = run.tokens_per_second
        except DeviceMemoryError:
            speed = 0.0
        depth = MeasuredDepth(n_layer, n_params, speed, speed * budget_seconds / n_params)
        fits = "" if speed else ": does not fit into memory"
        say(
            f"  {n_layer:>3} layers  {parameters_text(n_params, active):>12} parameters  {speed:>10,.0f} tokens/s  "
            f"{depth.tokens_per_param:>8,.1f} tokens per parameter{fits}"
        )
        return depth

    chosen, measured = deepest(measure, target, plan.recipe.max_layers)
    if chosen.tokens_per_param < target:
        say(f"  not even one layer reaches {target:g}; going on with it")
    return chosen, measured


def _try_rates(plan: Plan, chosen: Configuration, budget_seconds: float, trainer: Trainer, say: Say) -> list[TriedRate]:
    seconds = plan.recipe.lr_budget_fraction * budget_seconds
    say(f"learning rates, {format_duration(seconds)} each:")
    rates = []
    for max_lr in plan.recipe.learning_rates:
        try:
            bpb = trainer(replace(chosen, train=replace(chosen.train, max_lr=max_lr)), seconds).val_bpb
        except DivergedError:
            bpb = None
        rates.append(TriedRate(max_lr, bpb))
        say(f"  max_lr {max_lr:<8g} {f'{bpb:.4f} BPB' if bpb is not None else 'diverged'}")
    return rates


def _best(rates: list[TriedRate]) -> TriedRate:
    finished = [r for r in rates if r.val_bpb is not None]
    if not finished:
        raise DivergedError(f"every learning rate diverged: {', '.join(f'{r.max_lr:g}' for r in rates)}")
    return min(finished, key=lambda r: r.val_bpb or math.inf)


def at_edge(best: TriedRate, rates: list[TriedRate]) -> str | None:
    """Return advice if the best rate is the lowest or highest tried, since a better one may lie beyond it; or None."""
    tried = [r.max_lr for r in rates]
    if best.max_lr not in (min(tried), max(tried)):
        return None
    side = "lowest" if best.max_lr == min(tried) else "highest"
    return f"the {side} rate is the best: a better one may lie beyond it; widen `learning_rates` in [recipe]"


def recipe_export(
    plan: Plan, recipe: RecipeResult, budget: str, seed: int, provenance: dict[str, Any]
) -> dict[str, Any]:
    """Return the result as an export, which `train --config` takes."""
    bpb = recipe.result.val_bpb
    result = {"val_bpb": bpb, "seeds": [seed], "bpb_by_seed": [bpb], "confirmed": "no: one run of the recipe"}
    result |= {"tokens_per_second": recipe.result.tokens_per_second, "tokens": recipe.result.tokens}
    n_params = recipe.result.n_params
    result |= {"n_params": n_params, "tokens_per_param": recipe.result.tokens / n_params}
    if (active := recipe.result.n_active_params) not in (None, n_params):
        result |= {"n_active_params": active, "tokens_per_active_param": recipe.result.tokens / active}
    return {
        "study": plan.name,
        "configuration": "recipe",
        "budget": budget,
        "result": result,
        "recipe": {
            "tokens_per_param_wanted": plan.recipe.tokens_per_param,
            "depths": [vars(d) for d in recipe.depths],
            "learning_rates": [{k: v for k, v in vars(r).items() if v is not None} for r in recipe.rates],
        },
        "data": plan.data.table(),
        **recipe.configuration.table(),
        "provenance": provenance,
    }
