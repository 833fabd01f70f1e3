import json
import logging
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.config import DataConfig
from model.data.sources import builtin_prose, docstrings, documents, fingerprint
from model.errors import DataError
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


def test_rows_end_at_newlines_only_and_empty_ones_are_kept_inside_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffheld\none\rstill\u2028one\r\n\n\x0ctwo \n\n\n".encode())
    found = list(documents(config(path, holdout_rows=1, rows_per_document=3)))
    assert found == [("validation", "held"), ("train", "one\rstill\u2028one\n\n\x0ctwo "), ("train", "\n")]


def test_empty_documents_are_skipped_but_count_as_rows(tmp_path: Path) -> None:
    source = write(tmp_path, ".txt", ["a", "", "b", "", "", "c"])
    found = list(documents(config(source, holdout_period=2, holdout_rows=1)))
    assert found == [("validation", "a"), ("validation", "b"), ("train", "c")]


def test_a_json_file_may_have_empty_lines(tmp_path: Path) -> None:
    path = write(tmp_path, ".jsonl")
    path.write_text(path.read_text().replace("\n", "\n\n", 3) + "\n")
    assert [text for _, text in documents(config(path))] == ROWS


def test_a_name_with_a_patterns_signs_is_first_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "[1]"
    folder.mkdir()
    assert len(list(documents(config(write(folder, ".txt"))))) == len(ROWS)


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
    texts = builtin_prose()
    split = list(documents(BUILTIN))
    assert list(texts) == [text for _, text in split]
    assert len(set(texts)) == len(texts)
    assert 1.5e6 < sum(len(t.encode()) for t in texts) < 3e6
    words = Counter(" ".join(texts).lower().split())
    assert words.most_common(1)[0][0] == "the"
    parts = Counter(part for part, _ in split)
    assert parts["validation"] / sum(parts.values()) == pytest.approx(1 / 16, abs=0.001)


EVERYWHERE = '''
"""m"""
class C:
    """c"""
    async def f(self):
        """f"""
        def g(): "g"
if x:
    def a(): "if"
elif y:
    def b(): "elif"
else:
    def c(): "else"
for i in z:
    with w:
        def d(): "with"
else:
    def e(): "for-else"
while x:
    try:
        def h(): "try"
    except* E:
        def i(): "except"
    else:
        def j(): "try-else"
    finally:
        def k(): "finally"
match x:
    case 1:
        def l(): "case"
"no docstring"
'''


def test_docstrings_are_found_wherever_a_statement_can_be() -> None:
    names = "m c f g if elif else with for-else try except try-else finally case"
    assert Counter(docstrings(EVERYWHERE.encode())) == Counter(names.split())
    assert list(docstrings(b"lambda: 'none'")) == [""]


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
        (lambda d: write(d, ".txt", ROWS[:5]), {}, "no document is left for train: of 5 rows, 5 are held out"),
        (lambda d: write(d, ".txt", [*[""] * 5, "a", "b"]), {}, "no document is left for validation: of 7 rows"),
        (lambda d: write(d, ".txt", [*[""] * 5, "a"]), {}, "holds one row of text, but needs two or more"),
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
        ("a.txt", b"good\n" * 20_000 + b"caf\xe9\n", "a.txt, line 20001: not UTF-8 text (byte 4 of the line)"),
        ("a.jsonl", b'{"text": "a"}\n{oops\n', "line 2: not JSON"),
        ("a.jsonl", b'"text"\n', "line 1: is str, but must be an object with keys"),
        ("a.jsonl", b'{"n": 1}\n', "line 1: has no key `text`; there are: n; name one with --column"),
        ("a.jsonl", b'{"text": null}\n', "line 1: `text` is None, but must be text"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "line 1: `text` holds half a surrogate pair"),
        ("a.jsonl", b'{"text": ' + b"9" * 5000 + b"}\n", "line 1: not JSON"),
        ("a.parquet", b"PAR0", "not a parquet file"),
    ],
)
def test_broken_files_are_named_with_the_place(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="a\\.") as caught:
        list(documents(config(tmp_path / name)))
    assert says in str(caught.value)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:40] + bytes(400) + b[440:]])
def test_a_damaged_parquet_file_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path, ".parquet", [f"row {i * 7919}" for i in range(5000)])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"rows\.parquet"):
        list(documents(config(path)))


def test_parquet_strings_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": pa.array([b"caf\xe9"]).view(pa.string())}), path)
    with pytest.raises(DataError, match="`text` is not UTF-8 text"):
        list(documents(config(path)))


def test_a_missing_split_of_a_hugging_face_repository_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"text": ROWS}), tmp_path / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"split 'dev': can't be loaded: .*train"):
        list(documents(config(f"hf:{tmp_path}", validation_split="dev")))


def test_a_hub_out_of_reach_is_one_line_and_leaves_logging_as_it_was(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    before = logging.getLogger("huggingface_hub").level
    with pytest.raises(DataError, match=r"hf:nobody/nothing-of-this-name.*can't be loaded") as caught:
        list(documents(config("hf:nobody/nothing-of-this-name")))
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr().err == ""
    assert logging.getLogger("huggingface_hub").level == before


def test_the_fingerprint_follows_the_files_of_a_local_repository(tmp_path: Path) -> None:
    table = tmp_path / "train.parquet"
    pq.write_table(pa.table({"text": ROWS}), table)
    before = fingerprint(config(f"hf:{tmp_path}"))
    assert before == fingerprint(config(f"hf:{tmp_path}"))
    os.utime(table, ns=(1, 1))
    assert before != fingerprint(config(f"hf:{tmp_path}"))


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


def test_a_parquet_file_of_one_row_group_is_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    rows = [f"{i} " * 200 for i in range(20_000)]  # about 25 MB
    pq.write_table(pa.table({"text": rows}), path, row_group_size=len(rows), compression="none", use_dictionary=False)
    del rows
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in documents(config(path))]
    assert max(held) < 8_000_000 < path.stat().st_size / 2
