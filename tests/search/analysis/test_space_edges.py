from typing import Any

import numpy as np
import optuna
import pytest

from search.analysis.space_edges import RankedGroup, depth, edge_caveats
from search.study.space import Parameter, Space
from tests.search.made import MIDDLE, PLAN

RANGES = {
    "rate": Parameter(low=1e-4, high=3e-2, log=True),
    "ratio": Parameter(low=1.0, high=5.0),
    "layers": Parameter(low=2, high=6),
    "heads": Parameter(low=1, high=32, log=True),
    "vocab": Parameter(low=2048, high=12288, step=1024),
    "batch": Parameter(choices=(8, 64, 16)),
}


@pytest.mark.parametrize("name", RANGES)
def test_depth_is_the_share_of_optunas_random_draws(name: str) -> None:
    parameter = RANGES[name]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = (study.ask({"x": parameter.distribution()}) for _ in range(2000))
    drawn = np.array([t.params["x"] for t in trials])
    for value in drawn[:10]:
        assert depth(parameter, value, "lowest") == pytest.approx((drawn <= value).mean(), abs=0.04)
        assert depth(parameter, value, "highest") == pytest.approx((drawn >= value).mean(), abs=0.04)


def ran(best: int = 5, rest: int = 10, name: str = "proxies", **values: list[Any]) -> RankedGroup:
    """So many of the best, with these values, and the rest in the middle of the space; all run at the same time."""
    params = [{**MIDDLE, **{k: v[i] for k, v in values.items()}} for i in range(best)]
    return RankedGroup(name, params + [MIDDLE] * rest, [0] * (best + rest), best)


def test_four_of_five_at_the_low_end_of_the_rate() -> None:
    (text,) = edge_caveats(PLAN.space, [ran(max_lr=[1.1e-4, 1.3e-4, 1.2e-4, 2e-3, 1.5e-4])])
    assert text == ("max_lr: 4 of the 5 best proxies lie in the lowest 10% of 0.0001 … 0.03; widen to 1.5e-05.")


def test_three_of_five_may_be_chance() -> None:
    assert edge_caveats(PLAN.space, [ran(max_lr=[1.1e-4, 1.3e-4, 1.2e-4, 2e-3, 2e-3])]) == []


def test_nothing_is_said_where_all_is_at_the_end_or_the_rest_there_is_no_better() -> None:
    """A sampler that stays where it was lucky: four of the five best, and the five worst as well."""
    assert edge_caveats(PLAN.space, [ran(15, 0, max_lr=[1e-4] * 15)]) == []
    lucky = ran(max_lr=[1e-4] * 5)
    params = [*lucky.params, *({**MIDDLE, "max_lr": 1e-4} for _ in range(5))]
    assert edge_caveats(PLAN.space, [RankedGroup("proxies", params, [0] * 20, 5)]) == []


def test_what_only_time_explains_is_not_taken_for_the_end() -> None:
    """Every trial is better than the one before, and the sampler came to the end on its way."""
    late = ran(10, 10, max_lr=[1e-4] * 10)
    assert edge_caveats(PLAN.space, [late]) != []
    assert edge_caveats(PLAN.space, [RankedGroup("proxies", late.params, list(range(20, 0, -1)), 10)]) == []


def test_the_best_confirmed_too() -> None:
    proxies = ran(n_layer=[32, 32, 31, 32, 30])
    (text,) = edge_caveats(PLAN.space, [proxies, ran(3, 4, "confirmed", n_layer=[32, 31, 32])])
    assert text == (
        "n_layer: 4 of the 5 best proxies and 3 of the 3 best confirmed lie in the highest 10% of 4 … 32; widen to 41."
    )
    (text,) = edge_caveats(PLAN.space, [proxies, ran(3, 4, "confirmed", n_layer=[32, 12, 12])])
    assert text.startswith("n_layer: 4 of the 5 best proxies and the best of the confirmed lie")
    (text,) = edge_caveats(PLAN.space, [ran(), ran(3, 4, "confirmed", max_lr=[3e-2] * 3)])
    assert text.startswith("max_lr: 3 of the 3 best confirmed lie")


def test_choices_and_short_ranges_name_the_value() -> None:
    (text,) = edge_caveats(PLAN.space, [ran(10, 20, batch_size=[8] * 9 + [32])])
    assert text == "batch_size: 9 of the 10 best proxies have 8, the lowest of 8 … 128; add smaller ones."


def only(at_end: dict[str, Any], elsewhere: dict[str, Any]) -> RankedGroup:
    return RankedGroup("proxies", [at_end] * 5 + [elsewhere] * 10, [0] * 15, 5)


def test_where_the_setting_itself_ends_nothing_is_said() -> None:
    """A network has at least one layer; a learning rate is at most 1, and above 0."""
    space = Space.parse({"n_layer": {"low": 1, "high": 30}, "max_lr": {"low": 0.1, "high": 0.9}})
    assert edge_caveats(space, [only({"n_layer": 1, "max_lr": 0.5}, {"n_layer": 9, "max_lr": 0.5})]) == []
    (text,) = edge_caveats(space, [only({"n_layer": 9, "max_lr": 0.89}, {"n_layer": 9, "max_lr": 0.5})])
    assert text.endswith("widen to 1.")
    (text,) = edge_caveats(space, [only({"n_layer": 9, "max_lr": 0.11}, {"n_layer": 9, "max_lr": 0.5})])
    assert text.endswith("widen to 0.05.")


def test_a_setting_under_a_condition_counts_where_it_applies() -> None:
    table = {
        "attention": {"choices": ["full", "latent"]},
        "projection_dim": {"low": 16, "high": 512, "when": {"attention": "latent"}},
    }
    wide, narrow = ({"attention": "latent", "projection_dim": d} for d in (512, 64))
    params: list[dict[str, Any]] = [{"attention": "full"}] + [wide] * 4 + [narrow] * 10
    (text,) = edge_caveats(Space.parse(table), [RankedGroup("proxies", params, [0] * 15, 5)])
    assert text.startswith("projection_dim: 4 of the 4 best proxies lie in the highest 10% of 16 … 512")
