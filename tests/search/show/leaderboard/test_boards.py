"""Who is ranked with whom, and where: cases worked by hand, and properties of any board."""

import math
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from search.show.leaderboard.boards import Board, Conditions, Entrant, boards, pooled, proven_better
from search.study.results import Noise
from search.study.study_file import source_name

CONDITIONS = Conditions(
    text="c" * 64, protocol="every token once, lossless", context=128, budget_seconds=1800, hardware="4090"
)
NOISE = Noise(0.01, 4)


def entrant(name: str, bpb: float, seeds: int = 2, **others: Any) -> Entrant:
    defaults: dict[str, Any] = {
        "study": "made",
        "settings": "2L d128",
        "source": "hf:ORG/TEXT",
        "conditions": CONDITIONS,
        "noise": NOISE,
        "confirmed_on": date(2026, 1, 31),
    }
    return Entrant(configuration=name, mean_bpb=bpb, seeds=seeds, **(defaults | others))


def names(board: Board) -> list[tuple[int, str]]:
    return [(row.rank, row.entrant.configuration) for row in board.rows]


def test_a_board_worked_by_hand() -> None:
    """t(97.5%, 4) = 2.776: of two seeds each, 0.01 · 2.776 · √(1/2 + 1/2) = 0.0278 BPB tell."""
    given_ = [entrant("c", 1.36), entrant("a", 1.30), entrant("b", 1.32), entrant("d", 1.3601)]
    (board,) = boards(given_)
    assert names(board) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    unproven = ["not proven better than the next" in row.notes for row in board.rows]
    assert unproven == [True, False, True, False]  # gaps: 0.02, 0.04, 0.0001
    assert board.undecided == [2]
    assert board.sureness == "The first is not proven better than place 2."
    assert board.rows[0].entrant.score == "1.3000 ± 0.0196"  # 0.01 · 2.776 / √2


def test_equal_means_share_a_rank() -> None:
    (board,) = boards([entrant("a", 1.3), entrant("b", 1.3), entrant("c", 1.4)])
    assert names(board) == [(1, "a"), (1, "b"), (3, "c")]


@pytest.mark.parametrize(
    "other",
    [
        {"text": "d" * 64},
        {"protocol": "every token once, lossy: lower case"},
        {"context": 256},
        {"context": None},
        {"budget_seconds": 360.0},
        {"hardware": "H100"},
    ],
)
def test_what_was_measured_otherwise_is_not_ranked_with_it(other: dict[str, Any]) -> None:
    elsewhere = replace(CONDITIONS, **other)
    ranked = boards([entrant("a", 1.3), entrant("b", 1.2, conditions=elsewhere)])
    assert sorted(names(b) for b in ranked) == [[(1, "a")], [(1, "b")]]
    assert len({(b.heading, b.conditions.measured) for b in ranked}) == 2  # and a reader can tell them apart
    assert all("Alone" in b.sureness for b in ranked)


def test_a_lossy_board_says_so() -> None:
    lossy = replace(CONDITIONS, protocol="lossy: lower case")
    ranked = boards([entrant("a", 1.1, conditions=lossy), entrant("b", 1.3)])
    assert ["LOSSY" in b.heading for b in ranked] == [False, True]


def test_who_failed_ranks_behind_who_did_not() -> None:
    (board,) = boards([entrant("a", 1.2, failed=1), entrant("b", 1.5), entrant("c", 1.6)])
    assert names(board) == [(1, "b"), (2, "c"), (3, "a")]
    assert "failed in 1 of 3 long runs: behind all that didn't" in board.rows[2].notes
    assert proven_better(board.rows[1].entrant, board.rows[2].entrant)
    assert not proven_better(board.rows[2].entrant, board.rows[1].entrant)


def test_without_noise_nothing_is_proven() -> None:
    unknown = Noise(None, 0)
    (board,) = boards([entrant("a", 1.2, noise=unknown), entrant("b", 1.5)])
    assert board.undecided == [2]
    assert not board.proven
    assert "noise not known" in board.rows[0].notes
    assert board.rows[0].entrant.score == "1.2000"


def test_two_studies_noise_is_pooled_by_degrees_of_freedom() -> None:
    ranked = pooled(Noise(0.01, 4), Noise(0.03, 2))
    assert ranked.deviation == pytest.approx(math.sqrt((4 * 0.01**2 + 2 * 0.03**2) / 6))
    assert ranked.degrees == 6
    assert pooled(NOISE, NOISE) == NOISE  # one study's noise is not counted twice


THREE = st.lists(st.integers(1000, 1200), min_size=3, max_size=3, unique=True)


@given(THREE, THREE)
def test_two_configurations_alone_are_told_apart_as_by_scipys_t_test(x: list[int], y: list[int]) -> None:
    noise = Noise(math.sqrt((np.var(x, ddof=1) + np.var(y, ddof=1)) / 2), 4)
    one, other = (entrant("a", sum(v) / 3, 3, noise=noise) for v in (x, y))
    test = stats.ttest_ind(x, y)
    assert proven_better(one, other) == (test.statistic < 0 and test.pvalue < 0.05)


def test_the_best_of_each_board_are_shown_and_the_rest_counted() -> None:
    (board,) = boards([entrant(str(i), 1.3 + i / 10) for i in range(5)], top=2)
    assert names(board) == [(1, "0"), (2, "1")]
    assert board.entrants == 5
    assert "3 more are ranked below." in board.sureness
    assert board.proven


def test_what_is_there_twice_is_ranked_once() -> None:
    """A study's best and its own export, whose machine was noted with other threads, say."""
    exported = replace(CONDITIONS, hardware="4090 again")
    (board,) = boards([entrant("a", 1.3), entrant("b", 1.4), entrant("a", 1.3, conditions=exported)])
    assert names(board) == [(1, "a"), (2, "b")]


def test_places_in_words() -> None:
    ranked = boards([entrant(str(i), 1.3 + i / 1000) for i in range(5)])[0]
    assert "places 2 to 5" in ranked.sureness
    uneven = boards([entrant("a", 1.3), entrant("b", 1.31), entrant("c", 1.325, 8), entrant("d", 1.326, 1)])[0]
    assert "places 2 and 4" in uneven.sureness


def test_longest_budgets_come_first_within_a_text() -> None:
    budgets = [360.0, 3600.0, 1800.0]
    ranked = boards([entrant(str(b), 1.3, conditions=replace(CONDITIONS, budget_seconds=b)) for b in budgets])
    assert [b.conditions.budget_seconds for b in ranked] == sorted(budgets, reverse=True)


def test_a_texts_folders_are_not_published() -> None:
    assert source_name("/home/somebody/texts/*.jsonl") == "*.jsonl"
    assert source_name("hf:ORG/NAME") == "hf:ORG/NAME"
    assert source_name("builtin") == "builtin"
