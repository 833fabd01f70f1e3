"""The command that scores a model, and confirmation runs that are scored as they end."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optuna.trial import TrialState

from model.data.corpus import Corpus
from model.data.tokens import Tokens
from model.evaluate import val_bpb
from model.formats import checkpoint
from model.minimal_pairs import choose, read_pairs
from model.training.train import train
from search.common import paths
from search.common.exit_codes import REFUSED
from search.common.signals import StopRequest
from search.study.plan import Plan
from search.study.study import open_study
from search.worker.worker import Worker
from storage.server.database import Database
from tests.model.test_sample import lively
from tests.search.conftest import Typed
from tests.search.processor import ONCE
from tests.search.tiny import PLAN

WORDS = ("file", "name", "string", "list", "value", "module")
TEXT = "The text isn't one of ours:\r\n\ttwo  words – and a dash. "


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """Two paradigms of 6 and 4 pairs, of one phenomenon."""
    folder = tmp_path / "task"
    folder.mkdir()
    for name, words in (("one", WORDS), ("other", WORDS[:4])):
        rows = [
            {"sentence_good": f"the {w} is", "sentence_bad": f"the {w} are", "linguistics_term": "p"} for w in words
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_score_prints_what_the_model_chooses_and_foretells(
    corpus: Corpus, task: Path, tmp_path: Path, typed: Typed
) -> None:
    model, text = lively(corpus), tmp_path / "text.txt"
    text.write_bytes(TEXT.encode())
    saved = tmp_path / "model.pt"
    checkpoint.save(saved, model.network, model.tokenizer, {})
    given = ("--checkpoint", str(saved), "--task", str(task), "--text", str(text), "--device", "cpu")
    code, out, _ = typed("score", *given, "--json")
    table, choices = json.loads(out), choose(model.network, model.tokenizer, read_pairs([str(task)]))
    assert code == 0
    right = int(choices.right.sum())
    assert (table["pairs"]["all"]["right"], table["pairs"]["all"]["pairs"]) == (right, 10)
    assert {n: p["right"] for n, p in table["pairs"]["paradigms"].items()} == {
        "one": int(choices.right[:6].sum()),
        "other": int(choices.right[6:].sum()),
    }
    assert table["pairs"]["paradigm_mean"] == pytest.approx((choices.right[:6].mean() + choices.right[6:].mean()) / 2)
    ids = np.append(model.tokenizer.encode([TEXT])[0], np.uint16(model.tokenizer.separator))
    size = len(TEXT.encode())
    bpb = val_bpb(model.network, Tokens(ids, np.array([0, len(ids)]), np.array([size])), model.tokenizer.separator)
    (measured,) = table["texts"]
    assert measured["bpb"] == pytest.approx(bpb)
    assert measured["word_perplexity"] == pytest.approx(2 ** (bpb * size / 12))
    assert measured["token_perplexity"] == pytest.approx(math.exp(bpb * math.log(2) * size / len(ids)))
    code, out, _ = typed("score", *given)
    assert f"{right / 10:.2%}" in out
    assert f"{bpb:.4f}" in out


def test_what_cannot_be_scored_is_refused_in_a_sentence(
    corpus: Corpus, task: Path, tmp_path: Path, typed: Typed
) -> None:
    model, saved, other = lively(corpus), tmp_path / "model.pt", tmp_path / "latin.txt"
    checkpoint.save(saved, model.network, model.tokenizer, {})
    other.write_bytes("é".encode("latin-1"))
    (tmp_path / "empty.txt").touch()
    for options, message in (
        ((), "nothing to score: name minimal pairs with --task, or a text with --text"),
        (("--task", "nowhere"), "no file matches nowhere"),
        (("--text", str(other)), "not UTF-8 text (byte 1)"),
        (("--text", str(tmp_path / "empty.txt")), "is empty, but must have text in it"),
        (("--text", str(task)), "can't be read: Is a directory"),
    ):
        code, out, err = typed("score", "--checkpoint", str(saved), *options)
        assert (code, out) == (REFUSED, "")
        assert message in err
        assert err.count("\n") == 1


def scored_plan(task: Path) -> str:
    text = PLAN.replace("trials = 7", "trials = 1").replace("top = 1\n", f'top = 0\nscores = ["{task}"]\n')
    return text.replace("startup = 4\n", "")


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_confirmation_runs_are_scored_as_they_end_and_lose_nothing_without_their_pairs(
    database: Database, home: Path, task: Path
) -> None:
    """The first run of two is scored; before the second ends, the files are gone."""
    study = open_study(database, Plan.parse(scored_plan(task), name="tiny", origin="test"))
    lines, seeds = list[str](), list[int]()

    def shorter(*args: Any, budget_seconds: float, seed: int, **options: Any) -> Any:
        seeds.append(seed)
        if seed == 101:
            (task / "one.jsonl").unlink()
            (task / "other.jsonl").unlink()
        return train(*args, budget_seconds=0.1, seed=seed, **options)

    pairs = read_pairs([str(task)])
    Worker(study, "one", torch.device("cpu"), StopRequest(), lines.append, shorter, **ONCE).run()
    assert seeds == [0, 100, 101]
    first, second = study.confirm_trials()
    assert [first.state, second.state] == [TrialState.COMPLETE] * 2
    saved = checkpoint.load(paths.checkpoints(study.runs_folder) / "confirm-0.pt", torch.device("cpu"))
    choices = choose(saved.network, saved.tokenizer, pairs)
    assert first.user_attrs["scores"]["phenomena"] == {"p": [int(choices.right.sum()), 10]}
    assert "scores" not in second.user_attrs
    assert "scores" not in study.proxy_trials()[0].user_attrs
    (note,) = [line for line in lines if "not scored" in line]
    assert note.startswith("note: confirmation 1 is not scored on minimal pairs: ")


def test_start_refuses_a_study_whose_pairs_are_missing(stored: Database, tmp_path: Path, typed: Typed) -> None:
    """The path is relative to the study file's folder, as that of the text."""
    path = tmp_path / "scored.toml"
    path.write_text(scored_plan(Path("missing/*.jsonl")), encoding="utf-8")
    code, _, err = typed("start", "--study", str(path), "--workers", "0")
    assert code == REFUSED
    assert f"no file matches {tmp_path}/missing/*.jsonl" in err
