"""What is counted in texts, against cases worked by hand and properties."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.grade.counts import distinct, known_among, known_share, ngrams, repetition, whole_words, words_of
from search.grade.rubric import CRITERIA, read_grades

WORDS = st.lists(st.sampled_from("abc"), max_size=12)


def test_words_are_letters_with_apostrophes_in_lower_case() -> None:
    assert words_of("The cat's—CAT’S 2nd hat, l'été; 'quoted' über_alles 7.") == [
        *("the", "cat's", "cat's", "nd", "hat", "l'été", "quoted", "über", "alles")
    ]


@pytest.mark.parametrize(
    ("prompt", "completion", "ended", "words"),
    [
        ("Once upon a ti", "me there", False, ["time"]),
        ("Once upon a ti", "me there", True, ["time", "there"]),
        ("Once upon", " a time. ", False, ["a", "time"]),
        ("Once", "", True, []),
        ("Once", "", False, []),
        ("", "Word", False, []),
    ],
)
def test_words_of_a_completion_are_those_it_has_completed(
    prompt: str, completion: str, ended: bool, words: list[str]
) -> None:
    assert whole_words(prompt, completion, ended) == words


def test_words_of_a_completion_begin_after_a_prompt_that_is_longer_in_lower_case() -> None:
    """İ is i and a dot above it."""
    assert whole_words("İİ a", " yes.", True) == ["yes"]


def test_repetition_is_the_share_of_4_grams_that_were_there_before() -> None:
    """abcdabcd has abcd, bcda, cdab, dabc, abcd: one of five."""
    assert repetition(["a", "b", "c", "d", "a", "b", "c", "d"]) == pytest.approx(1 / 5)
    assert repetition(["a"] * 7) == pytest.approx(3 / 4)
    assert repetition(["a", "b", "c", "d", "e"]) == 0
    assert repetition(["a", "b", "c"]) is None


def test_distinct_n_is_divided_by_all_words_and_no_n_gram_spans_two_texts() -> None:
    """Of ab and ab: a, b of four words; ab alone of four words."""
    texts = [["a", "b"], ["a", "b"]]
    assert (distinct(texts, 1), distinct(texts, 2), distinct(texts, 3)) == (0.5, 0.25, 0.0)
    assert distinct([[]], 1) is None


@given(st.lists(WORDS, min_size=1, max_size=3), st.integers(1, 4))
def test_distinct_n_and_repetition_are_shares(texts: list[list[str]], n: int) -> None:
    share = distinct(texts, n)
    assert share is None or 0 <= share <= 1
    for words in texts:
        again = repetition(words, n)
        assert again is None or 0 <= again < 1
        if again is not None and (own := distinct([words], n)) is not None:
            assert (1 - again) * len(ngrams(words, n)) == pytest.approx(own * len(words))


def test_known_words_are_those_of_the_text_and_it_is_read_no_further_than_it_needs() -> None:
    def text() -> Iterator[str]:
        yield "The cat’s hat."
        yield "A dog."
        raise AssertionError("all is known already")

    known = known_among(["cat's", "dog", "a"], text())
    assert known == {"cat's", "dog", "a"}
    assert known_among(["zorp", "hat"], ["The hat."]) == {"hat"}
    assert known_share([["hat", "zorp"], ["hat", "hat"]], {"hat"}) == 0.75
    assert known_share([[]], {"hat"}) is None


def line(grammar: object = 7, creativity: object = 5, consistency: object = 6, plot: object = 4) -> str:
    values = (grammar, creativity, consistency, plot)
    return "{" + ", ".join(f'"{name}": {value}' for name, value in zip(CRITERIA, values, strict=True)) + "}"


@pytest.mark.parametrize(
    "answer",
    [
        line(),
        f"Well. {{not json}}\n```json\n{line()}\n```\nDone.",
        f"<think>{line(1, 1, 1, 1)} or better?</think>{line(7.0)}",
        line().replace("grammar", "Grammar "),
        f"{line()} {{}}",
    ],
)
def test_grades_are_the_last_object_that_has_all_four(answer: str) -> None:
    assert read_grades(answer) == {"grammar": 7, "creativity": 5, "consistency": 6, "plot": 4}


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Grammar: 7/10, creativity: 5/10, consistency: 6/10, plot: 4/10",
        line(11),
        line(0),
        line('"7"'),
        line("true"),
        line("null"),
        line("NaN"),
        line("1e999"),
        '{"grammar": 7, "creativity": 5, "consistency": 6}',
        f"{line()} no, {line(12)}",
        line()[:-1],
        "[7, 5, 6, 4]",
    ],
)
def test_anything_else_is_nonsense(answer: str) -> None:
    assert read_grades(answer) is None


@given(st.text())
def test_no_answer_is_an_error(answer: str) -> None:
    read_grades(answer)
    read_grades("{" + answer + "}")
