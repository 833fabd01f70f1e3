"""What the null GPU's notes and outcomes are read as, by hand; the rest of it runs with `make nullgpu`."""

import json

import pytest

from tests.nullgpu.runs import Outcome, outcomes
from tests.nullgpu.tables import compared, line


def test_an_entry_that_was_begun_and_not_ended_is_the_one_that_failed() -> None:
    lines = [{"entry": "a"}, {"entry": "a", "found": [], "seconds": 1.0}, {"entry": "b"}]
    whole = "\n".join(map(json.dumps, lines)) + '\n{"entry": "b", "fo'
    a, b = outcomes(whole, "card", "the process ended with -11")
    assert (a.faults, b.entry, b.faults) == ([], "b", ["the process ended with -11"])
    assert [o.entry for o in outcomes("", "card", "died")] == ["start"]


def test_a_failure_names_its_entry_and_what_is_wrong() -> None:
    assert line(Outcome(card="H200", entry="window", found=["1 × outside: kernel x"])).splitlines() == [
        "FAILED H200             window (0 s)",
        "       – 1 × outside: kernel x",
    ]
    assert line(Outcome(card="H200", entry="window", found=[])).startswith("ok ")
    assert Outcome(card="H200", entry="window", error="ValueError: no").faults == ["ValueError: no"]


def test_two_trees_side_by_side() -> None:
    before = {"a step": {"kernels": 1600, "mode": "eager"}, "gone": {"MB": 5.0}}
    after = {"a step": {"kernels": 240, "mode": "compiled"}}
    assert compared({"before": before, "after": after}).splitlines()[2:] == [
        "| a step, kernels | 1,600 | 240 | 0.150 |",
        "| a step, mode | eager | compiled |  |",
        "| gone, MB | 5.0 | – |  |",
    ]


@pytest.mark.parametrize("found", [{"MB": 0}, {"MB": 3}])
def test_nothing_has_a_ratio_to_nothing(found: dict[str, int]) -> None:
    assert compared({"before": {"x": {"MB": 0}}, "after": {"x": found}}).endswith(f"| 0 | {found['MB']} |  |")
