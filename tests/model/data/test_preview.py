"""The first rows of every kind of source, and how many there are in all."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.data.preview import first_rows
from model.errors import DataError

ROWS = [f"row {i:05d} of some text" for i in range(3000)]  # each 23 bytes


def test_lines_of_large_files_are_estimated_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.data.preview.COUNTED_BYTES", 100_000)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("".join(f"{r}\n" for r in ROWS))
    found = first_rows(f"{tmp_path}/*.txt", most=100)
    assert [row[""] for row in found.rows] == ROWS[:100]
    assert found.count == pytest.approx(6000)  # every line is as long as the next
    assert not found.exact
    assert first_rows(str(tmp_path / "a.txt"), most=5000).count == 3000


def test_lines_are_counted_however_long_one_of_them_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"{r}\n" for r in ROWS) + "x" * 500_000)
    found = first_rows(str(tmp_path / "a.txt"), most=100)
    assert (found.count, found.exact) == (3001, True)
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n{"text": "b"}\n')
    assert first_rows(f"{tmp_path}/a.*", most=100).count == 3003


def test_json_lines_keep_all_their_columns(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"id": i, "text": r}) + "\n" for i, r in enumerate(ROWS)) + "\n")
    found = first_rows(str(file), most=50)
    assert found.columns == ["id", "text"]
    assert found.count == pytest.approx(3000, rel=0.1)
    file.write_text('{"text": "a"}\nnot json\n')
    with pytest.raises(DataError, match="line 2: not JSON"):
        first_rows(str(file))
    file.write_text("[1]\n")
    with pytest.raises(DataError, match="line 1: is list, but must be an object"):
        first_rows(str(file))


@pytest.mark.parametrize("row_group_size", [100, 3000])
def test_parquet_counts_rows_and_bytes_exactly_and_is_looked_at_all_over(tmp_path: Path, row_group_size: int) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"n": range(3000), "text": ROWS}), file, row_group_size=row_group_size, use_dictionary=False
    )
    found = first_rows(str(file), most=60)
    assert (found.count, found.exact, found.columns) == (3000, True, ["n", "text"])
    assert found.column_bytes["text"] == pytest.approx(sum(map(len, ROWS)), rel=0.05)
    last = max(int(row["n"]) for row in found.rows)
    assert last >= (2500 if row_group_size == 100 else 59)


def test_a_folder_as_the_hub_keeps_it_is_streamed(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        pq.write_table(pa.table({"story": ROWS[:20]}), tmp_path / f"{split}-00000-of-00001.parquet")
    found = first_rows(f"hf:{tmp_path}")
    assert [row["story"] for row in found.rows] == ROWS[:20]
    assert set(found.splits) == {"train", "validation"}
    assert found.count == 20


def test_what_holds_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match="holds no rows"):
        first_rows(str(tmp_path / "a.jsonl"))
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(DataError, match="not a parquet file"):
        first_rows(str(tmp_path / "a.parquet"))
    (tmp_path / "a.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match="not UTF-8"):
        first_rows(str(tmp_path / "a.txt"))
