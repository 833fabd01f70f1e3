"""Tables that fit: read back from the lines that they print."""

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from search.show.columns import Column, Columns, hanging

HEAD = (
    Column(name="name"),
    Column(name="bpb", right=True),
    Column(name="seen", weight=2),
    Column(name="parameters", weight=1, below=True),
)
ROWS = (("trial 5", "2.3329", "3 s ago", "2L d32 2h lr 0.0039"), ("by-hand", "12.5", "40 s ago", "1L d16 1h lr 0.01"))


def printed(width: int) -> list[str]:
    return [line.plain for line in Columns(HEAD, ROWS).lines(width)]


def test_a_wide_terminal_has_all_beside_one_another() -> None:
    assert printed(60) == [
        "name        bpb  seen      parameters",
        "trial 5  2.3329  3 s ago   2L d32 2h lr 0.0039",
        "by-hand    12.5  40 s ago  1L d16 1h lr 0.01",
    ]


def test_what_matters_least_goes_first_and_what_matters_moves_below() -> None:
    assert printed(40)[0] == "name        bpb  parameters"
    assert printed(30) == [
        "name        bpb",
        "trial 5  2.3329",
        "    2L d32 2h lr 0.0039",
        "by-hand    12.5",
        "    1L d16 1h lr 0.01",
    ]


def test_an_empty_column_takes_no_room() -> None:
    rows = (("a", "–", "", "x"), ("b", "–", "", "y"))
    assert [line.plain for line in Columns(HEAD, rows).lines(30)] == ["name  parameters", "a     x", "b     y"]


@given(st.text(st.sampled_from("aä漢 "), max_size=60), st.integers(12, 40))
def test_folded_text_loses_no_word_and_is_no_wider_than_it_must_be(text: str, width: int) -> None:
    lines = [line.plain for line in hanging(text, width, "! ")]
    assert " ".join(" ".join(line[2:] for line in lines).split()) == " ".join(text.split())
    longest = max((cell_len(word) for word in text.split()), default=0)
    assert all(cell_len(line) <= max(width, 2 + longest) for line in lines)
    assert all(line.startswith("! " if i == 0 else "  ") for i, line in enumerate(lines))
