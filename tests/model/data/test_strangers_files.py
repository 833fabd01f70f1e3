"""Text as people have it: nested, in one row, as one array, in folders whose names look like patterns."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import DataConfig
from model.data.preview import first_rows
from model.data.sources import documents, fingerprint
from model.data.text_files import local_files
from model.errors import DataError, SettingsError

ODD = ["[proj] x", "[0-9]", "a*b", "what?", "[!x]", "{a,b}", "**", "[", "~nobody-of-this-name"]


def config(source: Path | str, **options: object) -> DataConfig:
    return DataConfig(source=str(source), **{"holdout_period": 4, "holdout_rows": 1, **options})  # type: ignore[arg-type]


def read(source: Path | str, **options: object) -> list[str]:
    return [text for _, text in documents(config(source, **options))]


@pytest.mark.parametrize("levels", [300, 900, 950, 970, 980, 990, 1000, 100_000])
@pytest.mark.parametrize("value", ["[{}]", '{{"a": {}}}', '{{"text": {}}}'])
def test_a_deeply_nested_row_is_named_with_its_place(tmp_path: Path, levels: int, value: str) -> None:
    begin, end = value.replace("{{", "{").replace("}}", "}").split("{}") if "a" not in value else ('{"a": ', "}")
    nested = begin * levels + "1" + end * levels
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n{"text": ' + nested + "}\n")
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: (its lists or objects are nested|`text` is)"):
        read(tmp_path / "a.jsonl")


def test_a_deeply_nested_row_is_named_by_its_first_rows_too(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n{"text": "b", "meta": ' + "[" * 9999 + "]" * 9999 + "}\n")
    for look in (read, first_rows):
        with pytest.raises(DataError, match=r"a\.jsonl, line 2: its lists or objects are nested too deeply"):
            look(str(tmp_path / "a.jsonl"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            '[{"text": "a"}, {"text": "b"}]',
            "line 1: is list, but must be an object with keys. The rows of one JSON array",
        ),
        ('[\n  {"text": "a"},\n  {"text": "b"}\n]\n', r"line 1: not JSON: Expecting value; the rows of one JSON array"),
        ('"text"\n', "line 1: is str, but must be an object with keys"),
        ("{}\n", "line 1: has no key `text`; there are: none"),
    ],
)
def test_json_of_another_form_is_told_what_it_is(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.jsonl")
    assert says in str(caught.value)
    assert "--column" not in str(caught.value)


@pytest.mark.skipif(not shutil.which("jq"), reason="the cure's program is not here")
def test_the_cure_for_an_array_works(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps([{"text": t} for t in "abcde"], indent=1))
    assert os.system(f"jq -c '.[]' {tmp_path}/a.jsonl > {tmp_path}/b.jsonl") == 0
    assert read(tmp_path / "b.jsonl") == list("abcde")


@given(
    rows=st.lists(st.sampled_from(["", "some text", "x"]), min_size=1, max_size=30),
    period=st.integers(2, 40),
    held=st.integers(1, 39),
    joined=st.integers(1, 4),
)
@settings(deadline=None)
def test_a_hold_out_that_is_offered_works(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], period: int, held: int, joined: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "rows.txt"
    file.write_text("".join(f"{row}\n" for row in rows))
    options = {"holdout_period": period, "holdout_rows": min(held, period - 1), "rows_per_document": joined}
    try:
        read(file, **options)
    except DataError as error:
        said = str(error)
        if sum(map(bool, rows)) < 2:
            assert "holds one row of text, but needs two" in said or "holds no text" in said
        else:
            new_period, new_held = (int(n) for n in said.rsplit("to ", 1)[1].removesuffix(" say").split(" and "))
            read(file, **{**options, "holdout_period": new_period, "holdout_rows": new_held})


def test_a_text_of_one_row_is_told_what_helps_and_it_does(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One document, in a single line. " * 400)
    with pytest.raises(DataError, match=r"one row of text, but needs two or more.*`max_row_bytes = 2500` in \[data\]"):
        read(tmp_path / "a.txt")
    assert len(read(tmp_path / "a.txt", max_row_bytes=2500)) == 6


@given(text=st.text(st.sampled_from(" \n\u00e9日🙂abcdefgh"), min_size=1, max_size=900), most=st.integers(100, 300))
@settings(deadline=None)
def test_pieces_are_the_text_and_no_longer_than_asked(
    tmp_path_factory: pytest.TempPathFactory, text: str, most: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "one.jsonl"
    file.write_text(json.dumps({"text": text}) + "\n" + json.dumps({"text": "another"}) + "\n")
    pieces = read(file, max_row_bytes=most)
    assert "".join(pieces) == f"{text}another"
    sizes = [len(piece.encode()) for piece in pieces]
    assert max(sizes) <= most
    assert all(size >= most // 2 - 4 for size in sizes[:-2])


def test_pieces_end_where_lines_or_words_do(tmp_path: Path) -> None:
    words = " ".join(random.Random(1).choices(["some", "words", "of", "different", "length"], k=4000))
    (tmp_path / "a.txt").write_text(words)
    pieces = read(tmp_path / "a.txt", max_row_bytes=1000)
    assert "".join(pieces) == words
    assert all(piece.endswith(" ") for piece in pieces[:-1])


def test_a_cut_is_of_the_texts_identity_and_joins_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some text\n" * 9)
    assert fingerprint(config(tmp_path / "a.txt")) != fingerprint(config(tmp_path / "a.txt", max_row_bytes=500))
    assert "max_row_bytes" not in config("builtin").table()  # earlier texts stay what they were
    with pytest.raises(SettingsError, match="`rows_per_document` is 2, but must be 1 where `max_row_bytes`"):
        config("builtin", max_row_bytes=500, rows_per_document=2)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("pattern", ["texts/*.txt", "texts/a.txt", "**/a.txt", "texts/[ab].txt"])
def test_a_folder_that_looks_like_a_pattern_is_a_folder(tmp_path: Path, name: str, pattern: str) -> None:
    for folder in (name, "0", "p", "aXb", "whatX"):  # others that its name would match
        (tmp_path / folder / "texts").mkdir(parents=True)
        (tmp_path / folder / "texts" / "a.txt").write_text("text\n")
    assert local_files(str(tmp_path / name / pattern)) == [tmp_path / name / "texts" / "a.txt"]


@pytest.mark.parametrize("name", ODD)
def test_a_file_that_looks_like_a_pattern_is_a_file(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in (f"{name}.txt", "0.txt", "aXb.txt", "whatX.txt"):
        (tmp_path / file).write_text("text\n")
    assert local_files(str(tmp_path / f"{name}.txt")) == [tmp_path / f"{name}.txt"]
    monkeypatch.chdir(tmp_path)
    assert local_files(f"{name}.txt") == [Path(f"{name}.txt")]


@pytest.mark.parametrize("look", [read, first_rows])
def test_a_repository_whose_folder_would_be_read_as_another_is_refused(
    tmp_path: Path, look: Callable[[str], object]
) -> None:
    """`datasets` takes a local folder's path for a pattern, and would read the rows of 0 here for those of [0-9]."""
    for name in ("[0-9]", "0"):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"text": [f"of {name}"] * 20}), tmp_path / name / "train-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"would be read as a pattern.*rename it, or give its files themselves"):
        look(f"hf:{tmp_path}/[0-9]")
    assert set(read(f"{tmp_path}/[0-9]/*.parquet")) == {"of [0-9]"}
    look(f"hf:{tmp_path}/0")


def damaged(path: Path, seed: int) -> None:
    content, draw = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(draw.randrange(1, 6)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("look", [read, first_rows])
def test_a_damaged_parquet_file_ends_in_a_sentence_or_is_read(tmp_path: Path, look: Callable[[str], object]) -> None:
    table = pa.table({"text": [f"row {i}" for i in range(60)], "more": [[[i]] for i in range(60)]})
    for seed in range(60):
        pq.write_table(table, tmp_path / "a.parquet")
        damaged(tmp_path / "a.parquet", seed)
        said = ""
        try:
            look(str(tmp_path / "a.parquet"))
        except DataError as error:
            said = str(error)
        assert not said or "a.parquet: " in said, seed
        assert "read: None" not in said
