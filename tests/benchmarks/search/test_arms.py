from functools import partial

import optuna
import pytest
from optuna.pruners import ThresholdPruner
from optuna.samplers import RandomSampler

from tests.benchmarks.search.answers import Answers
from tests.benchmarks.search.arms import ARMS, Plain, Purse
from tests.benchmarks.search.made_up import SCALE, table

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # as the command does
RANDOM = Plain(sampler=lambda seed: RandomSampler(seed=seed))


def answers(count: int = 60, replay: int = 0, noise: float = 0.0) -> Answers:
    return Answers(table(count, noise=noise), SCALE, replay)


def test_money_is_bound_while_a_run_is_under_way_and_given_back_where_it_ends_early() -> None:
    purse = Purse(100.0)
    assert [purse.take(40.0) for _ in range(3)] == [True, True, False]
    purse.settle(40.0, 10.0)
    assert [purse.take(40.0) for _ in range(2)] == [True, False]
    assert (purse.spent, purse.bound) == (10.0, 80.0)


@pytest.mark.parametrize("workers", [1, 3])
def test_long_runs_are_as_many_as_the_money_buys_and_the_baseline_is_one(workers: int) -> None:
    told = answers()
    found = RANDOM(told, 4, workers)
    assert (found.long, found.short, found.seconds) == (4, 0, 4 * 1800)
    assert len(told.used) == 4
    assert 0 in told.used
    best = min((told.table.rows[n] for n in told.used), key=lambda r: r.mean)
    assert found.export == best  # without noise


def test_proxies_cost_a_fifth_and_are_at_most_a_hundred() -> None:
    arm = ARMS["TPE on proxies, best exported"]
    told = answers()
    assert arm(told, 2, 1).short == 10
    assert arm(answers(150), 40, 8).short == 100


def test_what_pruning_saves_buys_further_runs() -> None:
    """All but the best are stopped at their first report, a twentieth of a run; less than a run is left in the end."""
    told = answers()
    curves = sorted(row.long[0].bpb[0] for row in told.table.rows)
    arm = Plain(sampler=lambda seed: RandomSampler(seed=seed), pruner=partial(ThresholdPruner, upper=curves[0] + 1e-9))
    found = arm(told, 2, 1)
    whole = sum(told.table.rows[n].long[0].bpb[0] <= curves[0] + 1e-9 for n in told.used)
    assert found.seconds == pytest.approx(1800 * (whole + (found.long - whole) / 20))
    assert 1800 < found.seconds <= 2 * 1800
    assert found.long > 2


def test_a_table_that_is_used_up_ends_a_search() -> None:
    assert RANDOM(answers(5), 20, 2).long == 5


def test_a_search_is_the_same_again() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for name in ("TPE, ASHA", "ours"):
        one, other = (ARMS[name](answers(replay=3, noise=0.05), 4, 8) for _ in range(2))
        assert one == other
