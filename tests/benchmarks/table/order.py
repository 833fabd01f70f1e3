"""Which configurations the table holds, and in what order its runs are made, so that a table cut off is still of use.

Number 0 is the baseline by hand, number 1 what the recipe finds. Blocks follow: the first are spread over the whole
space, later ones lie near what was best until then, half of them near the best proxies, for searches go there. Within a
block each configuration has its long run and its proxy, then some have a second long run. Last the best of all have
further ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.strategy.quasi_random import PointSuggester, sobol
from search.study.parameter import Parameter
from search.study.plan import Plan
from search.study.space import Params
from tests.benchmarks.proxies import FIRST_LONG_SEED, LONG, PROXY_SEED, WHOLE, Job

BLOCK = 40
SPREAD_BLOCKS = 4
BASELINES = ("by-hand", "recipe")
BEST_AGAIN, OTHERS_AGAIN = 5, 5
"""Configurations of a block that have a second long run: its best, and others, evenly spread over the rest's ranks."""
BEST_TWICE, BEST_THRICE = 24, 8
"""Of the whole table's best, those that have two and three long runs at the end; baselines have three."""
BEST_SHARE = 0.1
KEPT_SHARE = 0.5
"""Chance that a setting of a configuration near another is the other's."""


@dataclass(frozen=True)
class Ranked:
    """What is known of a configuration: lower is better, infinite where its run failed."""

    number: int
    params: Params
    long: float
    proxy: float


def numbers(block: int) -> range:
    """Return the numbers of a block's configurations."""
    first = len(BASELINES) + block * BLOCK
    return range(first, first + BLOCK)


def firsts(chosen: Iterable[int]) -> list[Job]:
    """Return each configuration's long run and proxy."""
    return [j for n in chosen for j in (Job(n, LONG, 100, FIRST_LONG_SEED), Job(n, WHOLE, 20, PROXY_SEED))]


def again(number: int, seeds: int) -> list[Job]:
    """Return a configuration's long runs beyond the first, up to so many seeds."""
    return [Job(number, LONG, 100, FIRST_LONG_SEED + k) for k in range(1, seeds)]


def second_seeds(block: Sequence[Ranked]) -> list[int]:
    """Return which of a block's configurations are run again: its best, and some spread over the others' ranks."""
    order = [r.number for r in sorted(block, key=lambda r: (r.long, r.number)) if np.isfinite(r.long)]
    rest = order[BEST_AGAIN:]
    places = np.linspace(0, len(rest) - 1, min(OTHERS_AGAIN, len(rest))).round().astype(int)
    return order[:BEST_AGAIN] + sorted({rest[i] for i in places})


def last_seeds(table: Sequence[Ranked]) -> list[Job]:
    """Return the further long runs of the whole table's best, and of the baselines."""
    order = [r.number for r in sorted(table, key=lambda r: (r.long, r.number))]
    jobs = [j for n in range(len(BASELINES)) for j in again(n, 3)]
    jobs += [j for n in order[:BEST_TWICE] for j in again(n, 2)]
    return jobs + [j for n in order[:BEST_THRICE] for j in again(n, 3)]


def draw_block(plan: Plan, block: int, before: Sequence[Ranked]) -> dict[int, Params]:
    """Return a block's configurations by number, none of them there already; a function of what came before."""
    taken = {_key(r.params) for r in before}
    chosen: dict[int, Params] = {}
    for number in numbers(block):
        for attempt in range(1000):
            if block < SPREAD_BLOCKS:
                params = spread(plan, number + 10_000 * attempt)
            else:
                params = near(plan, before, np.random.default_rng([number, attempt]), by_proxy=bool(number % 2))
            if _key(params) not in taken:
                break
        taken.add(_key(params))
        chosen[number] = params
    return chosen


def spread(plan: Plan, index: int) -> Params:
    """Return a point of a scrambled Sobol sequence over the space."""
    names = list(plan.space.parameters)
    place = PointSuggester(dict(zip(names, sobol(len(names), 0, index), strict=True)), {})
    return plan.space.suggest(place, plan.fixed())


def near(plan: Plan, before: Sequence[Ranked], random: np.random.Generator, *, by_proxy: bool) -> Params:
    """Return a neighbour of one of the best tenth, by long runs or by proxies."""
    order = sorted(before, key=lambda r: (r.proxy if by_proxy else r.long, r.number))
    start = order[int(random.integers(max(1, round(BEST_SHARE * len(order)))))].params
    searched = plan.space.parameters
    return {k: v if random.random() < KEPT_SHARE else _step(searched[k], v, random) for k, v in start.items()}


def _step(parameter: Parameter, value: Any, random: np.random.Generator) -> Any:
    """Return a value nearby: one of the two beside it, or in an unstepped logarithmic range about a third off."""
    values = parameter.values()
    if values is None:
        low, high = float(parameter.low or 0), float(parameter.high or 0)
        return float(np.clip(value * np.exp(0.4 * random.normal()), low, high))
    at = values.index(value) + int(random.choice((-1, 1)))
    return values[min(max(at, 0), len(values) - 1)]


def _key(params: Mapping[str, Any]) -> frozenset[Any]:
    return frozenset(params.items())
