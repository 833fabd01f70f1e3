import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import DeviceMemoryError, DivergedError
from model.network.flops import count_parameters
from search.retrain.recipe import (
    MEASURING_LR,
    MeasuredDepth,
    TriedRate,
    at_edge,
    deepest,
    recipe_export,
    run_recipe,
    starting_point,
)
from search.study import study_file as studyfile
from search.study.plan import Configuration


def measured_as(speed: Any, params: Any, budget: float) -> Any:
    return lambda n: MeasuredDepth(n, params(n), speed(n), speed(n) * budget / params(n))


@given(st.integers(1, 100), st.floats(0.1, 1e4), st.floats(0.2, 2.0))
def test_it_is_the_deepest_that_reaches_the_target(most: int, target: float, power: float) -> None:
    """Speed falls as n^-power and parameters grow as n: compare with trying every depth."""
    calls: list[int] = []

    def measure(n: int) -> MeasuredDepth:
        calls.append(n)
        return MeasuredDepth(n, n, 1e3 * n**-power, 1e3 * n**-power / n)

    result, measured = deepest(measure, target, most)
    reaching = [n for n in range(1, most + 1) if 1e3 * n**-power / n >= target]
    assert result.n_layer == (max(reaching) if reaching else 1)
    assert [d.n_layer for d in measured] == calls
    assert len(calls) == len(set(calls)) <= 2 * most.bit_length() + 1


def test_worked_by_hand() -> None:
    """1,000 tokens/s for 60 s over 100 parameters a layer: 600/n tokens per parameter; 70 of them at 8 layers."""
    result, measured = deepest(measured_as(lambda n: 1000.0, lambda n: 100 * n, 60), 70, 64)
    assert result.n_layer == 8
    assert [d.n_layer for d in measured] == [1, 2, 4, 8, 16, 12, 10, 9]


class World:
    """A trainer whose speed and results are formulas; it notes what it was asked for."""

    def __init__(self, best_lr: float = 3e-3, diverges_from: float = 1.0, fits: int = 99) -> None:
        self.best_lr, self.diverges_from, self.fits = best_lr, diverges_from, fits
        self.runs: list[tuple[int, float, float, bool]] = []

    def __call__(self, configuration: Configuration, seconds: float, *, measuring: bool = False) -> Any:
        n_layer, max_lr = configuration.model.n_layer, configuration.train.max_lr
        self.runs.append((n_layer, max_lr, seconds, measuring))
        if n_layer > self.fits:
            raise DeviceMemoryError("too deep")
        if max_lr >= self.diverges_from:
            raise DivergedError("too fast")
        n_params = count_parameters(configuration.model, configuration.tokenizer.vocab_size)
        return SimpleNamespace(
            val_bpb=1.0 + abs(max_lr - self.best_lr),
            tokens_per_second=70 * 4e6 / 1800,  # whatever the depth: 70 tokens for each of 4 million parameters
            tokens=1,
            micro_batch=16,
            n_params=n_params,
            n_active_params=n_params,
        )


BABYLM = studyfile.read("babylm")
PLAN = dataclasses.replace(
    BABYLM, recipe=dataclasses.replace(BABYLM.recipe, learning_rates=(1e-3, 2e-3, 3e-3, 5e-3, 8e-3))
)


def test_the_stages_of_the_recipe() -> None:
    world, output = World(), list[str]()
    recipe_result = run_recipe(PLAN, 1800.0, world, output.append)
    model, vocab_size = recipe_result.configuration.model, recipe_result.configuration.tokenizer.vocab_size
    deeper = dataclasses.replace(model, n_layer=model.n_layer + 1)
    assert count_parameters(model, vocab_size) <= 4e6 < count_parameters(deeper, vocab_size)
    rates = [r for r in world.runs if r[2] == 360.0]
    assert [r[1] for r in rates] == list(PLAN.recipe.learning_rates)
    assert {r[0] for r in rates} == {model.n_layer}
    assert world.runs[-1] == (model.n_layer, 3e-3, 1800.0, False)
    assert recipe_result.configuration.train.micro_batch == 16
    assert all(measuring == (seconds == PLAN.recipe.measure_seconds) for _, _, seconds, measuring in world.runs)
    table = recipe_export(PLAN, recipe_result, "30m", 0, {})
    n_params = count_parameters(model, vocab_size)
    assert (table["result"]["n_params"], table["result"]["tokens_per_param"]) == (n_params, 1 / n_params)
    assert [d["n_layer"] for d in table["recipe"]["depths"]] == [r[0] for r in world.runs if r[3]]


def test_what_diverges_or_does_not_fit_is_passed_over() -> None:
    recipe_result = run_recipe(PLAN, 1800.0, World(diverges_from=4e-3, fits=2), lambda line: None)
    assert recipe_result.configuration.model.n_layer == 2
    assert [r.val_bpb is None for r in recipe_result.rates] == [False, False, False, True, True]
    with pytest.raises(DivergedError, match=r"every learning rate diverged: 0\.001, 0\.002"):
        run_recipe(PLAN, 1800.0, _Wild(), lambda line: None)


class _Wild(World):
    """Every run that is not a measurement diverges."""

    def __call__(self, configuration: Configuration, seconds: float, *, measuring: bool = False) -> Any:
        if not measuring:
            raise DivergedError("too fast")
        return super().__call__(configuration, seconds, measuring=measuring)


def test_it_starts_from_the_first_baseline() -> None:
    result = starting_point(PLAN)
    assert (result.model.d_model, result.tokenizer.vocab_size) == (256, 6144)
    assert result.train.micro_batch == result.train.batch_size == 64


def test_a_speed_is_measured_at_a_rate_that_does_not_diverge() -> None:
    """Steps take as long at any rate: a hand-made one that diverges in seconds is no reason to know no depth."""
    wild = dict(PLAN.baselines["by-hand"], max_lr=1.5e-2)
    plan = dataclasses.replace(PLAN, baselines={"wild": wild})
    world = World(diverges_from=1e-2)
    assert run_recipe(plan, 1800.0, world, lambda line: None).result.val_bpb == pytest.approx(1.0)
    assert {max_lr for _, max_lr, _, measuring in world.runs if measuring} == {MEASURING_LR}


@pytest.mark.parametrize(("best_lr", "message"), [(1e-4, "the lowest rate"), (3e-3, None), (1e-1, "the highest rate")])
def test_a_best_rate_at_the_edge_is_called_out(best_lr: float, message: str | None) -> None:
    lines = list[str]()
    run_recipe(PLAN, 1800.0, World(best_lr), lines.append)
    assert [line for line in lines if "may lie beyond" in line] == [line for line in lines if (message or "\0") in line]
    assert any("may lie beyond" in line for line in lines) == (message is not None)


def test_what_diverged_beyond_the_best_closes_its_side() -> None:
    rates = [TriedRate(1e-3, 1.2), TriedRate(2e-3, 1.1), TriedRate(3e-3, None)]
    assert at_edge(rates[1], rates) is None
    assert "highest" in (at_edge(rates[1], rates[:2]) or "")
