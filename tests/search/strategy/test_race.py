"""Decisions of the race worked by hand, and properties that hold whatever the order of results."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.strategy.race import ENTRY_REASONS, SPENT, Candidate, Rules, close_rivals, next_runs, standing, survivors
from search.study.results import Transfer
from tests.search.race_sim import simulate

PROVEN = Transfer(9, 0.8, 0.4, 0.95)
UNPROVEN = Transfer(9, 0.1, -0.5, 0.6)
RULES = Rules()


def c(key: str, *bpb: float, kind: str = "top", pending: int = 0, out: str = "") -> Candidate:
    return Candidate(key, kind, bpb, pending, out)


def started(field: list[Candidate], rules: Rules = RULES) -> list[tuple[str, int]]:
    return [(s.key, s.index) for s in next_runs(field, [], PROVEN, rules).start]


def test_every_candidate_runs_once_at_first_and_the_log_says_what_it_is() -> None:
    field = [c("by-hand", kind="baseline"), c("a", 1.3), c("b"), c("r", kind="random"), c("x", out="pruned")]
    now = next_runs(field, [c("w")], UNPROVEN, RULES)
    assert [(s.key, s.index, s.why) for s in now.start] == [
        ("by-hand", 0, "first run: hand-made"),
        ("b", 0, "first run: among the best proxies"),
        ("r", 0, "first run: drawn at random"),
    ]
    assert not now.over
    assert next_runs(field, [c("w")], UNPROVEN, RULES) == now


def test_nothing_more_starts_while_first_runs_or_rungs_are_under_way() -> None:
    now = next_runs([c("a", 1.3), c("b", pending=1)], [c("w")], UNPROVEN, RULES)
    assert (now.start, now.state, now.over) == ((), "first runs queued or under way: 1", False)
    now = next_runs([c("a", 1.3), c("b", 1.31)], [c("w")], UNPROVEN, RULES, runs_on_rungs=3)
    assert (now.start, now.state, now.over) == ((), "queued or under way on the rungs: 3", False)


def test_first_runs_need_not_wait_for_the_rungs() -> None:
    assert [s.key for s in next_runs([c("by-hand", kind="baseline")], [], UNPROVEN, RULES, runs_on_rungs=3).start] == [
        "by-hand"
    ]


def test_the_race_widens_while_the_proxy_is_not_shown_to_predict() -> None:
    field = [c("a", 1.3), c("b", 1.4)]
    now = next_runs(field, [c("v", kind="wider"), c("w", kind="wider")], UNPROVEN, RULES)
    assert [(s.key, s.index) for s in now.start] == [("v", 0), ("w", 0)]
    assert all("isn't shown to predict (Kendall's τ = 0.10" in s.why for s in now.start)
    few = next_runs(field, [c("v", kind="wider")], Transfer(4, None, None, None), RULES)
    assert few.start[0].why == f"first run: {ENTRY_REASONS['wider']} (4 pairs, of 5 needed to tell)"
    proven = next_runs(field, [c("v", kind="wider")], PROVEN, RULES)
    assert {s.key for s in proven.start} == {"a", "b"}


def test_second_seeds_go_to_the_leader_and_its_closest_rival() -> None:
    field = [c("a", 1.40), c("b", 1.32), c("c", 1.30)]
    assert started(field) == [("c", 1), ("b", 1)]
    now = next_runs(field, [], PROVEN, RULES)
    assert [s.why for s in now.start] == [
        "run 2: leads b by 0.0200, which may be chance (noise is not known yet)",
        "run 2: 0.0200 behind c, which may be chance (noise is not known yet)",
    ]


def test_the_one_of_the_two_with_fewer_runs_goes_first() -> None:
    assert started([c("a", 1.30), c("b", 1.31, 1.33), c("x", 1.5)]) == [("a", 1)]
    assert started([c("a", 1.30, 1.31), c("b", 1.31), c("x", 1.5)]) == [("b", 1)]


def test_the_closest_rival_is_judged_by_noise_and_not_by_the_gap() -> None:
    """Noise: √(2 · 0.002² / 2 degrees) = 0.002, t = 4.303, so that least gaps are 0.0105 to b, 0.0086 to d.

    b, 0.008 behind after one run, is at 0.76 of its least gap; d, 0.007 behind after two, at 0.81.
    """
    field = [c("a", 1.300, 1.304), c("b", 1.310), c("d", 1.309, 1.309)]
    assert [r.key for r in close_rivals(field, field[0])] == ["b", "d"]
    assert started(field) == [("b", 1)]
    (start,) = next_runs(field, [], PROVEN, RULES).start
    assert start.why == "run 2: 0.0080 behind a, which may be chance (noise 0.0020 a run)"


def test_where_leader_and_rival_have_had_the_most_the_next_rival_runs() -> None:
    rules = Rules(3, 2)
    field = [c("a", 1.30, 1.40), c("b", 1.31, 1.41), c("d", 1.36)]
    assert started(field, rules) == [("d", 1)]


def test_it_is_over_when_the_leader_is_separated() -> None:
    """Noise 0.0014 with 2 degrees: gaps above 4.303 · 0.0014 = 0.0061 are more than noise."""
    field = [c("a", 1.300, 1.302), c("b", 1.308, 1.310), c("x", 1.5)]
    now = next_runs(field, [], PROVEN, RULES)
    assert (now.start, now.state, now.over) == ((), "a is ahead of all others by more than noise", True)
    assert started([field[0], c("b", 1.305, 1.307), field[2], c("y", 1.6)]) == [("a", 2), ("b", 2)]


def test_a_leader_after_one_run_gets_a_second_though_it_is_far_ahead() -> None:
    (start,) = next_runs([c("a", 1.300), c("b", 1.400, 1.402)], [], PROVEN, RULES).start
    assert (start.key, start.index, start.why) == ("a", 1, "run 2: leads after a single run")


def test_runs_are_spent_by_count() -> None:
    """Two candidates with two runs each on average are four runs, of which one may be under way."""
    now = next_runs([c("a", 1.30, 1.33), c("b", 1.31, 1.34)], [], PROVEN, RULES)
    assert (now.start, now.state, now.over) == ((), "all 4 runs are spent", True)
    now = next_runs([c("a", 1.30, 1.33), c("b", 1.31, pending=1)], [], PROVEN, RULES)
    assert (now.start, now.over) == ((), False)


def test_a_run_without_a_result_is_spent_too() -> None:
    assert started([c("a", 1.30, 1.33), c("b", 1.31, 1.34), c("x", 1.31, out="diverged")]) == []
    assert started([c("a", 1.30, 1.33), c("b", 1.31, 1.34), c("x", out="diverged")]) == [("a", 2)]


def test_a_single_run_that_is_left_goes_to_the_leader() -> None:
    assert started([c("a", 1.30, 1.33), c("b", 1.31, 1.34), c("x", 1.50)]) == [("a", 2)]


def test_no_candidate_has_more_than_max_seeds() -> None:
    field = [c("a", 1.30, 1.33, 1.31), c("b", 1.31, 1.34, 1.32), c("x", 2.0), c("y", 2.1), c("z", 2.2)]
    now = next_runs(field, [], PROVEN, Rules(seeds=2, max_seeds=3))
    assert (now.start, now.state, now.over) == ((), "all that could still win have had 3 runs", True)
    assert started(field, Rules(seeds=2, max_seeds=4)) == [("a", 3)]


def test_hours_or_dollars_stop_every_kind_of_run() -> None:
    fresh, raced, wider = [c("a"), c("b")], [c("a", 1.30), c("b", 1.31)], [c("w", kind="wider")]
    for field, reserve in ((fresh, []), (raced, wider), (raced, [])):
        one = next_runs(field, reserve, UNPROVEN, Rules(affordable=1))
        assert len(one.start) == 1
        assert not one.over
        none = next_runs(field, reserve, UNPROVEN, Rules(affordable=0))
        assert (none.start, none.state, none.over) == ((), SPENT, True)


def test_runs_under_way_are_waited_for() -> None:
    now = next_runs([c("a", 1.30, pending=1), c("b", 1.31, pending=1), c("x", 1.5)], [], PROVEN, RULES)
    assert (now.start, now.state) == ((), "the leader's and its rival's runs are queued or under way")
    assert started([c("a", 1.30, pending=1), c("b", 1.31), c("x", 1.5), c("y", 1.6)]) == [("b", 1)]


def test_a_candidate_that_is_out_runs_no_more_whatever_its_mean() -> None:
    field = [c("a", 1.30, out="diverged in a long run"), c("b", 1.31), c("d", 1.32), c("x", 1.9)]
    assert started(field) == [("b", 1), ("d", 1)]  # the leader of those that are in, and its rival
    assert next_runs([c("a", out="pruned")], [], PROVEN, RULES).over
    assert next_runs([], [], PROVEN, RULES).state == "no run has finished"


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.floats(1.0, 2.0), min_size=1, max_size=7),
    st.integers(0, 3),
    st.integers(2, 3),
    st.sampled_from([0.0, 0.01, 0.5]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_whatever_the_order_of_results(
    true: list[float], widen: int, seeds: int, noise: float, proven: bool, draw: random.Random
) -> None:
    """Runs end in any order, some with no result: the count and the most seeds hold, no run starts twice, none for
    one that is out, and the race ends.
    """
    rules, transfer = Rules(seeds, seeds + 1), PROVEN if proven else UNPROVEN
    field = {str(i): c(str(i)) for i in range(len(true))}
    reserve = [c(f"w{i}", kind="wider") for i in range(widen)]
    began: list[tuple[str, int]] = []
    for _ in range(1000):
        for start in next_runs(list(field.values()), reserve, transfer, rules).start:
            assert not field.get(start.key, c("new")).out
            began.append((start.key, start.index))
            was = field.setdefault(start.key, c(start.key, kind="wider"))
            field[start.key] = replace(was, pending=was.pending + 1)
            reserve = [w for w in reserve if w.key != start.key]
        under_way = [k for k, one in field.items() if one.pending]
        if not under_way:
            break
        one = field[draw.choice(under_way)]
        ended = replace(one, pending=one.pending - 1)
        lost = draw.random() < 0.1
        bpb = one.bpb if lost else (*one.bpb, true[_place(one.key) % len(true)] + noise * draw.random())
        field[one.key] = replace(ended, bpb=bpb, out="diverged" if lost else "")
    assert not any(one.pending for one in field.values())
    assert len(set(began)) == len(began) <= len(field) * seeds
    assert max(index for _, index in began) < rules.max_seeds
    assert {key for key, _ in began} == set(field)
    assert proven or not reserve


def _place(key: str) -> int:
    return int(key.removeprefix("w"))


def test_the_better_half_of_a_rung_climbs() -> None:
    assert survivors([1.3, 1.2, 1.5, 1.1]) == [1, 3]
    assert survivors([1.3, 1.2, 1.5, 1.1, 1.25]) == [1, 3, 4]
    assert survivors([1.3, math.inf, math.inf, 1.1, 1.2]) == [0, 3, 4]
    assert survivors([1.3, 1.2, 1.1]) == [1, 2]
    assert survivors([1.3]) == [0]
    assert survivors([math.inf, math.inf, 1.2]) == [2]
    assert survivors([]) == []


def test_standing_says_why_each_gets_runs_or_none() -> None:
    field = [
        c("late", pending=1),
        c("b", 1.303, 1.305),
        c("a", 1.300, 1.302),
        c("x", 1.5),
        c("gone", 1.6, out="diverged in a long run"),
        c("new"),
    ]
    assert [(one.key, text) for one, text in standing(field)] == [
        ("a", "leads"),
        ("b", "not surely behind"),
        ("x", "behind by more than noise"),
        ("gone", "diverged in a long run"),
        ("late", "its first run is queued or under way"),
        ("new", "has not run"),
    ]
    assert standing([field[2], field[3]])[0][1] == "leads, ahead of all by more than noise"
    assert standing([]) == []


@pytest.mark.parametrize(("rho", "sigma"), [(0.3, 0.03), (0.6, 0.1), (0.3, 0.3)])
def test_the_race_is_no_worse_than_two_seeds_for_each(rho: float, sigma: float) -> None:
    """100 simulated studies: at equal cost regret isn't higher by more than simulation error, nor are runs."""
    figures = simulate(rho, sigma, 100)
    for race, rival in (("race", "top n × 2, same cost"), ("race of 12 at most", "top 5 × 2")):
        worse = figures[race].regret - figures[rival].regret
        assert worse.mean() <= 2 * worse.std() / math.sqrt(len(worse))
        assert figures[race].runs.mean() <= figures[rival].runs.mean()
    if sigma < 0.1:
        assert figures["race of 12 at most"].runs.mean() < 11
        assert np.all(figures["race"].runs <= 20)
