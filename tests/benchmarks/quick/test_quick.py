"""The GPU's measurement, rehearsed on the CPU: every part in tiny, and what a limit of time does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.benchmarks.quick.parts import PARTS
from tests.benchmarks.quick.run import one, run, table
from tests.benchmarks.quick.scale import Part

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", [p.name for p in PARTS])
def test_every_part_measures_what_is_there(name: str, tmp_path: Path) -> None:
    one(name, CPU, tmp_path / "rows", rehearse=True)
    rows = dict(json.loads(line) for line in (tmp_path / "rows").read_text().splitlines())
    assert len(rows) >= 1
    for figures in rows.values():
        assert figures.get("tokens/s", 1) > 0
        assert figures.get("prepare, s", 1) > 0


def test_the_first_parts_are_whole_answers_within_their_minutes() -> None:
    names, sums, total = [p.name for p in PARTS], [], 0
    for part in PARTS:
        total += part.seconds
        sums.append(total)
    assert names[:4] == ["self-test", "step-middle", "graphs", "step-shallow"]
    assert [sums[i] <= 60 * m for i, m in ((3, 4), (6, 8), (len(PARTS) - 1, 14))] == [True] * 3


class Machine:
    """A machine on which a part takes so many times what it is expected to, by a clock of its own."""

    def __init__(self, slower: float = 1.0) -> None:
        self.now, self.slower, self.begun = 0.0, slower, list[str]()

    def measure(self, part: Part, device: torch.device, left: float, rehearse: bool, caches: Path) -> dict[str, Any]:
        seconds = min(self.slower * part.seconds, left)
        self.now += seconds
        self.begun.append(part.name)
        return {
            "seconds": seconds,
            "rows": {},
            **({"ended": "cut off"} if seconds < self.slower * part.seconds else {}),
        }


NAMES = [p.name for p in PARTS]


@pytest.mark.parametrize(
    ("minutes", "slower", "whole", "cut"),
    [
        (4, 1.0, NAMES[:4], []),
        (8, 1.0, [*NAMES[:7], "compile"], []),  # the one after the seventh takes 95 s, and 40 are left: these do for it
        (14, 1.0, NAMES, []),
        (14, 0.5, NAMES, []),
        (4, 1.2, NAMES[:3], ["step-shallow"]),  # begun with 36 s of the 50 that it should take
        (8, 1.3, NAMES[:5], ["step-deep"]),
    ],
)
def test_a_limit_leaves_out_what_does_not_fit(
    minutes: int, slower: float, whole: list[str], cut: list[str], tmp_path: Path
) -> None:
    """Parts that fit are run whole, in order of worth; of the others the file says that they were left out, and why."""
    machine = Machine(slower)
    run(CPU, minutes, tmp_path / "kept.json", measure=machine.measure, clock=lambda: machine.now)
    kept = json.loads((tmp_path / "kept.json").read_text())["parts"]
    assert list(kept) == NAMES
    assert [name for name in NAMES if kept[name].keys() == {"question", "seconds", "rows"}] == whole
    assert [name for name in NAMES if "ended" in kept[name]] == cut
    assert machine.begun == [name for name in NAMES if name in whole + cut]
    for name in set(NAMES) - {*whole, *cut}:
        assert re.fullmatch(r"\d+ s left, it takes about \d+ s", kept[name]["left out"])
    assert machine.now <= 60 * minutes


def test_what_was_measured_is_kept_and_the_rest_named(tmp_path: Path) -> None:
    """A part whose process is cut off, and one for which no time is left."""
    chosen = [next(p for p in PARTS if p.name == name) for name in ("logits", "muon")]
    found = run(CPU, 0.3 / 60, tmp_path / "kept.json", rehearse=True, parts=chosen)
    kept = json.loads((tmp_path / "kept.json").read_text())["parts"]
    assert kept == found["parts"]
    assert "the time was up" in kept["logits"]["ended"]
    assert "0 s left" in kept["muon"]["left out"]


def test_a_part_runs_in_a_process_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = [p for p in PARTS if p.name == "logits"]
    found = run(CPU, 30, tmp_path / "kept.json", rehearse=True, parts=chosen)["parts"]["logits"]
    assert set(found["rows"]) == {"logits at once: 2^13", "logits at once: 2^14"}
    assert "| logits at once: 2^13 |" in capsys.readouterr().out


def test_a_table_leaves_out_what_a_row_has_not() -> None:
    rows = {"a": {"tokens/s": 1000, "MFU": 0.25}, "b": {"mode": "eager"}}
    assert table({"rows": rows, "ended": "cut off"}).splitlines() == [
        "| | tokens/s | MFU | mode |",
        "|---|---:|---:|---:|",
        "| a | 1,000 | 0.250 |  |",
        "| b |  |  | eager |",
        "",
        "ended: cut off",
    ]
