import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.config import DataConfig
from model.errors import DataError
from model.text import builtin_prose, documents, fingerprint
from tests.conftest import BUILTIN, SHARED_TEXT

ROWS = [f"row {i}" for i in range(250)]


def write(folder: Path, suffix: str, rows: list[str] = ROWS, column: str = "text") -> Path:
    path = folder / f"rows{suffix}"
    if suffix == ".txt":
        path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps({column: row, "n": 1}) + "\n" for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.table({"n": [1] * len(rows), column: rows}), path, row_group_size=40)
    return path


def config(source: Path | str, **options: object) -> DataConfig:
    return DataConfig(source=str(source), **{"holdout_period": 100, "holdout_rows": 5, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_split_by_row_index(tmp_path: Path, suffix: str) -> None:
    found = list(documents(config(write(tmp_path, suffix))))
    assert [text for _, text in found] == ROWS
    assert [i for i, (part, _) in enumerate(found) if part == "validation"] == [
        i for i in range(250) if i % 100 < 5
    ]  # the original's rule, with its own numbers


def test_neighbouring_rows_make_documents_that_never_straddle_the_parts(tmp_path: Path) -> None:
    found = list(documents(config(write(tmp_path, ".txt"), rows_per_document=10)))
    assert found[0] == ("validation", "\n".join(ROWS[:5]))
    assert found[1] == ("train", "\n".join(ROWS[5:15]))
    assert found[10] == ("train", "\n".join(ROWS[95:100]))
    assert "\n".join(text for _, text in found) == "\n".join(ROWS)


def test_a_glob_reads_its_files_in_order_as_one(tmp_path: Path) -> None:
    for i, part in enumerate((ROWS[:130], ROWS[130:])):
        (tmp_path / f"{i}").mkdir()
        write(tmp_path / f"{i}", ".txt", part)
    assert [t for _, t in documents(config(tmp_path / "**" / "*.txt"))] == ROWS


@pytest.mark.parametrize("named_split", [True, False])
def test_a_hugging_face_repository_by_its_own_loader(tmp_path: Path, named_split: bool) -> None:
    """The hub's layout on disk, read by the call that reads the hub."""
    (tmp_path / "repo" / "data").mkdir(parents=True)
    for split, rows in (("train", ROWS[:200]), ("test", ROWS[200:])):
        pq.write_table(pa.table({"story": rows}), tmp_path / "repo" / "data" / f"{split}-00000-of-00001.parquet")
    options = {"validation_split": "test"} if named_split else {}
    found = list(documents(config(f"hf:{tmp_path / 'repo'}", column="story", **options)))
    counted = Counter(part for part, _ in found)
    assert counted == ({"train": 200, "validation": 50} if named_split else {"train": 190, "validation": 10})
    if named_split:
        assert [t for p, t in found if p == "validation"] == ROWS[200:]


def test_builtin_prose_is_english_fixed_and_about_two_megabytes() -> None:
    texts = list(builtin_prose())
    assert texts == list(builtin_prose())
    assert len(set(texts)) == len(texts)
    assert 1.5e6 < sum(len(t.encode()) for t in texts) < 3e6
    words = Counter(" ".join(texts).lower().split())
    assert words.most_common(1)[0][0] == "the"
    parts = Counter(part for part, _ in documents(BUILTIN))
    assert parts["validation"] / sum(parts.values()) == pytest.approx(1 / 16, abs=0.001)


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (lambda d: d / "none.txt", {}, "no file matches"),
        (lambda d: d, {}, "no file matches"),
        (lambda d: write(d, ".jsonl"), {"column": "story"}, "line 1: has no key `story`; there are: text, n"),
        (lambda d: write(d, ".parquet"), {"column": "story"}, "has no column `story`; there are: n, text"),
        (lambda d: write(d, ".parquet"), {"column": "n"}, "row 1: `n` is 1, but must be text"),
        (lambda d: write(d, ".txt", []), {}, "holds no text"),
        (lambda d: write(d, ".txt", ["", "", ""]), {}, "holds no text"),
        (lambda d: write(d, ".txt", ROWS[:5]), {}, "no document is left for train"),
        (lambda d: write(d, ".txt"), {"validation_split": "test"}, "only hf: data sets have splits"),
        (lambda d: f"hf:{d}/nothing-here", {}, "can't be loaded"),
    ],
)
def test_text_that_cannot_be_used_says_why(tmp_path: Path, make, options: dict[str, str], says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError) as caught:
        list(documents(config(make(tmp_path), **options)))
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"a,b", "files of this kind can't be read"),
        ("a.txt", b"caf\xe9\n" * 9, "not UTF-8 text (byte 3)"),
        ("a.jsonl", b'{"text": "a"}\n{oops\n', "line 2: not JSON"),
        ("a.parquet", b"PAR0", "not a parquet file"),
    ],
)
def test_broken_files_are_named_with_the_place(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="a\\.") as caught:
        list(documents(config(tmp_path / name)))
    assert says in str(caught.value)


def test_the_fingerprint_follows_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, ".txt")
    before = fingerprint(config(path))
    assert before == fingerprint(config(path))
    assert before != fingerprint(config(path, rows_per_document=2))
    path.write_text("other\n", encoding="utf-8")
    assert before != fingerprint(config(path))


@pytest.mark.skipif(not (SHARED_TEXT / "tinystories.parquet").exists(), reason="the shared real text is not here")
def test_real_stories_by_their_column() -> None:
    source = DataConfig(source=str(SHARED_TEXT / "tinystories.parquet"), column="story")
    found = list(documents(source))
    assert sum(part == "validation" for part, _ in found) == 100
    assert 2.0e6 < sum(len(t.encode()) for _, t in found) < 2.3e6
