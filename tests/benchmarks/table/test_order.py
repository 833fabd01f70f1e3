from collections import Counter
from pathlib import Path

import pytest

from search.study.plan import Plan
from tests.benchmarks.search.made_up import STUDY
from tests.benchmarks.table import order
from tests.benchmarks.table.order import Ranked


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.parse(Path(STUDY).read_text(), name="table", origin="the table's study")


def ranked(plan: Plan, blocks: int) -> list[Ranked]:
    """Blocks whose long runs like depth and whose proxies dislike it."""
    before: list[Ranked] = []
    for block in range(blocks):
        drawn = order.draw_block(plan, block, before)
        before += [Ranked(n, p, -float(p["n_layer"]), float(p["n_layer"])) for n, p in drawn.items()]
    return before


def test_blocks_are_drawn_alike_again_and_no_configuration_twice(plan: Plan) -> None:
    found = ranked(plan, 6)
    assert [r.number for r in found] == list(range(2, 242))
    assert len({frozenset(r.params.items()) for r in found}) == 240
    again = order.draw_block(plan, 5, found[:200])
    assert list(again.values()) == [r.params for r in found[200:]]
    for r in found:
        assert all(plan.space.parameters[name].holds(value) for name, value in r.params.items())


def test_the_first_blocks_cover_every_value_evenly(plan: Plan) -> None:
    layers = Counter(r.params["n_layer"] for r in ranked(plan, order.SPREAD_BLOCKS))
    assert sorted(layers) == [1, 2, 3, 4, 5, 6]
    assert max(layers.values()) - min(layers.values()) <= 6  # of 27 each: a Sobol sequence


def test_later_blocks_lie_near_the_best_long_runs_and_the_best_proxies_in_turn(plan: Plan) -> None:
    late = ranked(plan, 6)[160:]
    assert {r.params["n_layer"] for r in late if r.number % 2 == 0} <= {5, 6}
    assert {r.params["n_layer"] for r in late if r.number % 2 == 1} <= {1, 2}


def test_second_seeds_go_to_the_best_and_over_the_rest() -> None:
    """Of 14: the five best, and of the nine others the first, every other one and the last."""
    block = [Ranked(n, {}, float(20 - n), 0.0) for n in range(14)]
    assert order.second_seeds(block) == [13, 12, 11, 10, 9, 0, 2, 4, 6, 8]
    failed = [Ranked(n, {}, float("inf"), 0.0) for n in range(3)]
    assert order.second_seeds(failed) == []
    assert order.second_seeds([*failed, *block[:2]]) == [1, 0]


def test_the_best_of_all_and_the_baselines_have_three_seeds_at_the_end() -> None:
    table = [Ranked(n, {}, float(n), 0.0) for n in range(100)]
    seeds = Counter(job.number for job in set(order.last_seeds(table)))
    assert {n for n, more in seeds.items() if more == 2} == set(range(order.BEST_THRICE))
    assert {n for n, more in seeds.items() if more == 1} == set(range(order.BEST_THRICE, order.BEST_TWICE))
    assert {job.kind for job in order.last_seeds(table)} == {"long"}


def test_each_configuration_has_a_long_run_and_a_proxy_of_another_seed() -> None:
    long, proxy = order.firsts([7])
    assert (long.kind, long.percent, proxy.kind, proxy.percent) == ("long", 100, "whole", 20)
    assert long.seed != proxy.seed
    assert [j.seed for j in order.again(7, 3)] == [long.seed + 1, long.seed + 2]
