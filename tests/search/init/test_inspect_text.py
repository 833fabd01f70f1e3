"""Which column holds the text, and whether a row is a document."""

import json
from pathlib import Path
from typing import Any

import pytest

from search.common.errors import SearchError
from search.init.inspect_text import inspect, rows_per_document

STORY = "Once upon a time there was a fox who could not sleep. It counted stars until morning came. "


def jsonl(folder: Path, rows: list[dict[str, Any]]) -> str:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def rows(**columns: Any) -> list[dict[str, Any]]:
    """Twenty rows, each column made by a function of the row's number, or the same for all."""
    return [{k: v(i) if callable(v) else v for k, v in columns.items()} for i in range(20)]


def test_the_only_column_of_words_is_the_text(tmp_path: Path) -> None:
    source = jsonl(tmp_path, rows(id=lambda i: f"doc-{i}", n=3, lang="en", body=lambda i: STORY * 8 + str(i)))
    found = inspect(source, None, None)
    assert (found.column, found.others, found.rows_per_document) == ("body", [], 1)
    assert found.total_bytes == pytest.approx(20 * len(STORY * 8), rel=0.05)


def test_two_such_columns_are_asked_for_or_refused_by_name(tmp_path: Path) -> None:
    source = jsonl(tmp_path, rows(question=lambda i: f"why is it so {i}", answer=lambda i: f"because it is {i}"))
    with pytest.raises(SearchError, match="may be any of question, answer; say which with --column"):
        inspect(source, None, None)
    assert inspect(source, "answer", None).column == "answer"
    asked: list[list[str]] = []

    def answer(question: str, choices: list[str]) -> str:
        asked.append(choices)
        return choices[1]

    assert inspect(source, None, answer).column == "answer"
    assert asked == [["question", "answer"]]


def test_the_usual_name_decides_and_the_other_is_told(tmp_path: Path) -> None:
    found = inspect(
        jsonl(tmp_path, rows(title=lambda i: f"the fox number {i}", text=lambda i: STORY + str(i))), None, None
    )
    assert (found.column, list(found.others)) == ("text", ["title"])


@pytest.mark.parametrize(
    ("columns", "asked", "said"),
    [
        (
            {"id": "a", "n": 1},
            None,
            r"no column looks like prose \(there is id, n\); name the one to train on with --column",
        ),
        ({"text": STORY}, "txt", "--column is txt, but the columns of .* are text"),
        ({"text": "  "}, "text", "hold no text"),
    ],
)
def test_what_can_not_be_told_is_refused(tmp_path: Path, columns: dict[str, Any], asked: str | None, said: str) -> None:
    with pytest.raises(SearchError, match=said):
        inspect(jsonl(tmp_path, rows(**columns)), asked, None)


def test_a_blank_text_is_named_without_a_column(tmp_path: Path) -> None:
    file = tmp_path / "blank.txt"
    file.write_text("\n \n\n")
    with pytest.raises(SearchError, match="its first 3 lines are blank; name another text with --data"):
        inspect(str(file), None, None)


def test_one_huge_line_is_part_of_the_size(tmp_path: Path) -> None:
    file = tmp_path / "huge.txt"
    file.write_text("a line of text here\n" * 5000 + "x" * 1_000_000)
    found = inspect(str(file), None, None)
    assert (found.rows, found.exact) == (5001, True)
    assert found.total_bytes == pytest.approx(1_100_000, rel=0.06)


def test_lines_are_told_from_documents(tmp_path: Path) -> None:
    assert rows_per_document([STORY * 10] * 5) == 1
    assert rows_per_document(["one line\nand another"] * 5) == 1  # it holds its own line breaks
    assert rows_per_document(["forty-seven bytes, as BabyLM's lines have about"] * 5) == 50  # as babylm.toml says
    assert rows_per_document(["short"] * 5) == 100
    file = tmp_path / "a.txt"
    file.write_text("a line of text here\n" * 500)
    found = inspect(str(file), None, None)
    assert (found.column, found.rows_per_document) == (None, 100)
    with pytest.raises(SearchError, match="has no columns"):
        inspect(str(file), "text", None)
