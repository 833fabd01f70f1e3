"""Names within Markdown, read by a Markdown parser that knows nothing of ours."""

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from search.common.safe_text import code, fenced, plain, sentence, table

NASTY = (
    "*bold* and _so_ __on__",
    "![x](http://192.0.2.1/x.png)",
    "[click](javascript:alert)",
    "<img src=x> <b>",
    "a | b",
    "`code` and ``more",
    "~~gone~~",
    "&lt; &amp;",
    "back\\slash \\* ends\\",
    "two\nlines\n\n# heading",
    "snake_case stays",
)
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HARMLESS = {"text", "text_special", "code_inline", "softbreak"}


def inline(text: str) -> list[Token]:
    return [t for token in PARSER.parse(text) for t in token.children or []]


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_shown_literally_without_mark_up(name: str) -> None:
    expected = " ".join(name.split())
    tokens = inline(f"it is {plain(name)} here")
    assert {t.type for t in tokens} <= {"text", "text_special"}
    assert "".join(t.content for t in tokens) == f"it is {expected} here"


@pytest.mark.parametrize("name", NASTY)
def test_a_name_stays_in_its_cell(name: str) -> None:
    text = table(("rank", "name"), [("1", plain(name)), ("2", "other")])
    cells = [t for t in PARSER.parse(text) if t.type == "inline"]
    assert len(cells) == 6
    assert "".join(t.content for t in cells[3].children or []) == " ".join(name.split())


def test_dollars_are_no_formula() -> None:
    """optuna-dashboard reads $…$ as one, which CommonMark doesn't."""
    assert plain("from $1 to $2") == r"from \$1 to \$2"


def test_code_of_ours_stays_code_and_a_lone_sign_is_no_code() -> None:
    tokens = inline(sentence("baseline *x*; try `confirm.lr_scales = [1.0, 1.4]`."))
    assert [t.content for t in tokens if t.type == "code_inline"] == ["confirm.lr_scales = [1.0, 1.4]"]
    assert {t.type for t in tokens} <= HARMLESS | {"text_special"}
    assert "".join(t.content for t in tokens) == "baseline *x*; try confirm.lr_scales = [1.0, 1.4]."
    assert {t.type for t in inline(sentence("trial a`b of [x](y)"))} <= {"text", "text_special"}


@pytest.mark.parametrize("text", ["a\n```\n# out", "````", "~~~\n`a`", "a\x1b[31m\n    b"])
def test_what_a_model_writes_stays_in_its_block(text: str) -> None:
    blocks = PARSER.parse(f"before\n\n{fenced(text)}\n\nafter")
    assert [b.type for b in blocks if b.type in ("fence", "heading_open", "paragraph_open")] == [
        "paragraph_open",
        "fence",
        "paragraph_open",
    ]
    assert next(b.content for b in blocks if b.type == "fence") == text.replace("\x1b", "") + "\n"


def test_code_is_code_whatever_is_in_it() -> None:
    assert [t.type for t in inline(f"sha-256 {code('ab`](http://192.0.2.1) `c')} here")] == [
        "text",
        "code_inline",
        "text",
    ]
