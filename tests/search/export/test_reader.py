"""Exports read back: once, each part by itself, with every mistake named by file and key."""

import json
from pathlib import Path
from typing import Any

import pytest

from search.common.errors import SearchError
from search.export.reader import LIST, read_export, read_exports

TABLE: dict[str, Any] = {
    "study": "s",
    "configuration": "trial 3",
    "budget": "90s",
    "data": {"source": "builtin"},
    "tokenizer": {"vocab_size": 512},
    "model": {"n_layer": 3},
    "train": {},
    "result": {"val_bpb": 1.5, "seeds": [7, 8], "seed_noise": {"deviation": 0.01, "degrees": 2, "of": "long runs"}},
    "hardware": {"kind": "cpu", "name": "x", "threads": 2, "reference_tokens_per_second": 100.0},
}


def written(folder: Path, *tables: dict[str, Any]) -> Path:
    path = folder / "best.json"
    path.write_text(json.dumps(tables[0] if len(tables) == 1 else {LIST: list(tables)}), encoding="utf-8")
    return path


def test_an_export_is_read_once_whatever_is_asked_of_it(tmp_path: Path) -> None:
    path = written(tmp_path, TABLE, TABLE | {"configuration": "trial 4", "horizon": "5m"})
    first, second = read_exports(path)
    path.unlink()
    assert (first.training.budget, first.training.horizon, second.training.horizon) == ("90s", None, "5m")
    assert first.training.configuration.model.n_layer == 3
    assert (first.result.val_bpb, first.result.seeds, first.result.label) == (1.5, (7, 8), "s, trial 3")
    assert (first.result.noise.deviation, first.result.noise.degrees, first.result.noise_of) == (0.01, 2, "long runs")
    assert first.result.machine is not None
    assert first.result.machine.threads == 2
    assert second.table["configuration"] == "trial 4"


def test_what_only_trains_claims_nothing_and_the_other_way_round(tmp_path: Path) -> None:
    """A hand-made export has no result; one whose settings are of a later version still claims its BPB."""
    by_hand = read_export(written(tmp_path, {k: v for k, v in TABLE.items() if k != "result"}))
    assert by_hand.training.configuration.tokenizer.vocab_size == 512
    with pytest.raises(SearchError, match=r"best\.json: `result` is None, but must be a table"):
        assert by_hand.result
    later = read_export(written(tmp_path, TABLE | {"model": {"n_layers": 3}}))
    assert later.result.val_bpb == 1.5
    with pytest.raises(SearchError, match=r"best\.json: .*n_layers"):
        assert later.training


def test_one_of_several_that_is_no_export_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, TABLE, {"study": "s"})
    assert read_export(path, 1).table == TABLE
    for wrong in (lambda: read_export(path, 2), lambda: read_exports(path)):
        with pytest.raises(SearchError, match="not an export of lilm-search"):
            wrong()
