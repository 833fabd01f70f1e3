"""Budgets, networks and hold-outs follow from speed, memory and text."""

from dataclasses import replace

import pytest
import torch

from model.config import ModelConfig
from model.network.flops import count_parameters
from model.training.reference_step import Reference
from search.common.errors import SearchError
from search.init.inspect_text import Text
from search.init.make import speed_meter
from search.init.sizing import LADDER, Size, climb, confirm_budget, size
from search.init.study_text import render
from search.machine.hardware import Hardware
from search.study.plan import Plan

BABYLM = Text(
    source="hf:a/b",
    column="text",
    others=[],
    first=["a row"],
    row_bytes=47.0,
    rows=11_600_000.0,
    exact=True,
    rows_per_document=50,
    total_bytes=543e6,
)
GPU = Hardware(kind="cuda", name="NVIDIA GeForce RTX 4090", memory_gib=24, reference_tokens_per_second=600_000)
CPU = Hardware(kind="cpu", name="a processor", threads=1, reference_tokens_per_second=20_000)
POWER = {"cuda": 25e12, "cpu": 3e10}
"""Operations a second of the machines in these tests."""


def of(text: Text, machine: Hardware, memory: float = 24 * 2**30, budget: str | None = None) -> Size:
    def speed(network: ModelConfig, vocab: int) -> float:
        return POWER[machine.kind] / (6 * count_parameters(network, vocab))

    return size(text, machine, memory, budget, speed)


@pytest.mark.parametrize(("machine", "wanted"), [(GPU, 70), (CPU, 20)])
def test_the_hand_made_network_is_the_largest_that_gets_its_tokens(machine: Hardware, wanted: float) -> None:
    """Tokens per parameter are seconds · power ÷ (6 · parameters²), so that the largest has √(…) parameters at most."""
    found = of(BABYLM, machine)
    seconds = 1800 if machine is GPU else 300
    most = (seconds * POWER[machine.kind] / (6 * wanted)) ** 0.5
    sizes = [count_parameters(ModelConfig(n_layer=n, n_head=w // 16, head_dim=16), v) for w, n, v in LADDER]
    assert count_parameters(found.by_hand, found.vocab_size) == max(s for s in sizes if s <= most)
    assert found.tokens_per_param >= wanted
    assert (found.budget, found.confirm) == (("6m", "30m") if machine is GPU else ("1m", "5m"))


def test_climbing_measures_no_more_than_it_must() -> None:
    steps = [(ModelConfig(n_layer=n, n_head=2, head_dim=16), 512) for n in (1, 2, 4, 8, 16)]
    for start in range(5):
        asked: list[int] = []

        def speed(network: ModelConfig, vocab: int, asked: list[int] = asked) -> float:
            asked.append(network.n_layer)
            return count_parameters(network, vocab) * (2.0 if network.n_layer <= 4 else 0.5)

        found, _ = climb(steps, start, 1.0, 1.0, speed)
        assert found[0].n_layer == 4
        assert len(asked) == len(set(asked)) <= 4
    assert climb(steps, 3, 1.0, 1.0, lambda network, vocab: 0.0)[0] == steps[0]


def test_memory_bounds_the_space(capsys: pytest.CaptureFixture[str]) -> None:
    small = of(BABYLM, GPU, memory=0.2 * 2**30)
    assert small.most_parameters * 16 <= 0.2 * 2**30
    assert small.layers[0] < small.layers[1]
    assert small.heads[0] < small.heads[1]
    assert of(BABYLM, GPU).most_parameters > small.most_parameters


@pytest.mark.parametrize("rows", [8.0, 60.0, 400.0, 30_000.0, 11_600_000.0])
@pytest.mark.parametrize("together", [1, 20, 50])
def test_some_rows_are_held_out_and_most_are_not(rows: float, together: int) -> None:
    text = replace(BABYLM, rows=rows, rows_per_document=together, total_bytes=47 * rows)
    period, held = of(text, CPU).holdout
    validation = sum(i % period < held for i in range(int(min(rows, 50_000))))
    assert 0 < validation <= max(1, min(rows, 50_000) / 2)
    assert rows < 1000 or validation <= min(rows, 50_000) / 5


def test_a_vocabulary_fits_the_text() -> None:
    chinese = replace(BABYLM, least_vocabulary=3328)
    assert min(of(chinese, CPU).vocabularies) == 3328
    little = replace(BABYLM, rows=2000.0, total_bytes=94_000.0)
    assert max(of(little, GPU).vocabularies) <= 320


def test_confirmations_are_five_times_longer() -> None:
    assert [confirm_budget(b) for b in ("6m", "12s", "90s", "1.5m", "1h")] == ["30m", "1m", "450s", "450s", "300m"]
    with pytest.raises(SearchError, match='--budget: "soon" is no duration'):
        confirm_budget("soon")


@pytest.mark.parametrize("machine", [GPU, CPU])
@pytest.mark.parametrize(
    "text",
    [
        BABYLM,
        replace(BABYLM, rows=None, total_bytes=None, validation_split="validation", split="all"),
        replace(BABYLM, column=None, rows=9.0, total_bytes=300.0, rows_per_document=1),
        replace(
            BABYLM, first=['quoted "\\ \x7f\u202e\u2028 and\nbroken' * 9], others=["t\u0007"], least_vocabulary=5312
        ),
    ],
)
def test_every_file_is_a_plan_and_quotes_what_is_read(machine: Hardware, text: Text) -> None:
    found = of(text, machine)
    written = render("mine", text, machine, found, 'odd "name"\\.txt', (0.5, "a price"))
    plan = Plan.parse(written, name="mine", origin="a test")
    assert plan.data.source == 'odd "name"\\.txt'
    assert plan.data.column == (text.column or "text")
    assert (plan.data.validation_split, plan.data.split) == (text.validation_split, text.split)
    assert plan.confirm.budget_seconds == 5 * plan.proxy.budget_seconds
    assert plan.configuration(dict(plan.baselines["by-hand"])).model == found.by_hand
    assert written.isprintable() or {c for c in written if not c.isprintable()} == {"\n"}
    assert all(len(line) <= 160 for line in written.splitlines())


def test_one_network_is_compiled_and_its_gain_holds_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager, 1,000 and 500 tokens/s; the first compiled is 1.6 times as fast."""
    networks = [ModelConfig(n_layer=n, n_head=2, head_dim=16, context=64) for n in (1, 2)]
    compiled_shapes = list[int]()

    def measured(shape: Reference, device: torch.device, *, compiled: bool = False) -> float:
        compiled_shapes.extend([shape.network.n_layer] * compiled)
        return 1000 / shape.network.n_layer * (1.6 if compiled else 1)

    monkeypatch.setattr("search.init.make.tokens_per_second", measured)
    speed = speed_meter(torch.device("cpu"), True)
    assert [speed(network, 512) for network in networks] == [1600, 800]
    assert compiled_shapes == [1]
    speed = speed_meter(torch.device("cpu"), False)
    assert [speed(network, 512) for network in networks] == [1000, 500]
    assert compiled_shapes == [1]
