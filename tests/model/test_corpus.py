import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import corpus as corpora
from model.config import DataConfig, TokenizerConfig
from model.corpus import Corpus, Tokens, prepare
from model.tokenizer import Tokenizer

SMALL = TokenizerConfig(vocab_size=400)
spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"Number {i} of many, {i * i} squared.\n" for i in range(2000)), encoding="utf-8")
    return DataConfig(source=str(path), holdout_period=100, holdout_rows=5, rows_per_document=5)


def equal(a: Corpus, b: Corpus) -> bool:
    arrays = [(x.ids, y.ids) for x, y in ((a.train, b.train), (a.validation, b.validation))]
    return all(np.array_equal(x, y) for x, y in arrays) and a.tokenizer.sha256 == b.tokenizer.sha256


def test_the_second_time_nothing_is_read_or_trained(
    data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(data, SMALL, tmp_path / "cache")
    monkeypatch.setattr(corpora, "train_tokenizer", None)
    monkeypatch.setattr("model.text.documents", None)
    assert equal(first, prepare(data, SMALL, tmp_path / "cache"))


def test_the_same_text_from_elsewhere_shares_tokens(
    data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(data, SMALL, tmp_path / "cache")
    copy = tmp_path / "copy.txt"
    copy.write_bytes(Path(data.source).read_bytes())
    monkeypatch.setattr(corpora, "train_tokenizer", None)
    again = prepare(DataConfig(**{**data.table(), "source": str(copy)}), SMALL, tmp_path / "cache")
    assert again.text_sha256 == first.text_sha256


def test_changed_text_is_prepared_anew(data: DataConfig, tmp_path: Path) -> None:
    first = prepare(data, SMALL, tmp_path / "cache")
    with Path(data.source).open("a", encoding="utf-8") as file:
        file.write("One more line.\n")
    assert prepare(data, SMALL, tmp_path / "cache").text_sha256 != first.text_sha256


@pytest.mark.parametrize("name", ["train.u16", "validation.starts.npy", "tokenizer.model", "meta.json"])
def test_a_damaged_cache_is_rebuilt(data: DataConfig, tmp_path: Path, name: str) -> None:
    first = prepare(data, SMALL, tmp_path / "cache")
    expected = np.array(first.train.ids)
    (damaged,) = (tmp_path / "cache" / "tokens").glob(f"*/{name}")
    damaged.write_bytes(damaged.read_bytes()[:-2])
    assert np.array_equal(prepare(data, SMALL, tmp_path / "cache").train.ids, expected)


def _prepare_slowly(data: DataConfig, cache: Path, ready: Any) -> None:
    def hang(stage: str, done: int, total: int | None) -> None:
        if stage.startswith("encoding"):
            ready.put(stage)
            signal.pause()

    prepare(data, SMALL, cache, hang)


def test_a_preparation_that_was_killed_leaves_nothing_that_is_used(data: DataConfig, tmp_path: Path) -> None:
    ready = spawn.Queue()
    doomed = spawn.Process(target=_prepare_slowly, args=(data, tmp_path / "cache", ready))
    doomed.start()
    ready.get(timeout=60)
    assert doomed.pid is not None
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.join(10)
    whole = prepare(data, SMALL, tmp_path / "cache")
    assert equal(whole, prepare(data, SMALL, tmp_path / "elsewhere"))


def test_documents_end_with_the_separator_and_bytes_are_theirs(data: DataConfig, tmp_path: Path) -> None:
    corpus = prepare(data, SMALL, tmp_path / "cache")
    for part in (corpus.train, corpus.validation):
        assert set(part.ids[part.starts[1:] - 1].tolist()) == {corpus.tokenizer.separator}
        assert part.starts[-1] == len(part.ids)
        first = corpus.tokenizer.decode(part.ids[: part.starts[1] - 1])
        assert part.text_bytes[0] == len(first.encode())
    newlines = 2000 - 2000 // 5  # joined rows; those between documents are not text
    total = int(corpus.train.text_bytes.sum() + corpus.validation.text_bytes.sum())
    assert total == len(Path(data.source).read_bytes()) - 2000 + newlines


def test_progress_is_told(data: DataConfig, tmp_path: Path) -> None:
    stages: list[str] = []
    prepare(data, SMALL, tmp_path / "cache", lambda stage, done, total: stages.append(stage))
    told = list(dict.fromkeys(stages))
    assert told == [
        "reading text",
        "training unigram tokenizer, 400 tokens",
        "encoding train, 400 tokens",
        "encoding validation, 400 tokens",
    ]


def tokens(n: int, seed: int = 0) -> Tokens:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 60, n)
    starts = np.concatenate(([0], np.cumsum(lengths)))
    return Tokens(rng.integers(3, 99, starts[-1]).astype(np.uint16), starts, lengths * 4)


@pytest.mark.parametrize("least_bytes", [1, 500, 2000, 10**9])
def test_a_subset_is_whole_documents_evenly_spread(least_bytes: int) -> None:
    whole = tokens(100)
    part = whole.subset(least_bytes)
    size = int(part.text_bytes.sum())
    assert size >= min(least_bytes, int(whole.text_bytes.sum()))
    documents = {whole.ids[a:b].tobytes() for a, b in zip(whole.starts, whole.starts[1:], strict=False)}
    assert all(part.ids[a:b].tobytes() in documents for a, b in zip(part.starts, part.starts[1:], strict=False))
    assert part.subset(least_bytes).ids.tobytes() == part.ids.tobytes() or least_bytes < size


def test_tokenizers_are_the_same_bytes_for_all(data: DataConfig, tmp_path: Path) -> None:
    corpora_ = [prepare(data, SMALL, tmp_path / name) for name in ("one", "two")]
    assert corpora_[0].tokenizer.proto == corpora_[1].tokenizer.proto
    assert isinstance(corpora_[0].tokenizer, Tokenizer)
