import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import DataConfig, TokenizerConfig
from model.data import corpus as corpora
from model.data.corpus import Corpus, prepare
from model.data.tokenizer import Tokenizer
from model.data.tokens import Tokens, evenly
from model.errors import DataError
from tests.conftest import BUILTIN, CLI_SECONDS, SHARED_TEXT
from tests.model.data.preparing import SMALL, prepare_and_tell, prepare_until

OTHER = TokenizerConfig(vocab_size=410)
spawn = multiprocessing.get_context("spawn")


class Prepared(NamedTuple):
    """A corpus with the cache that holds it."""

    corpus: Corpus
    cache: Path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """A text that no test changes."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"Number {i} of many, {i * i} squared.\n" for i in range(2000)), encoding="utf-8")
    return DataConfig(source=str(path), holdout_period=100, holdout_rows=5, rows_per_document=5)


@pytest.fixture(scope="module")
def prepared(data: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """What a preparation in an empty cache gives."""
    cache = tmp_path_factory.mktemp("cache")
    return Prepared(prepare(data, SMALL, cache), cache)


@pytest.fixture(scope="module")
def in_other_tokens(data: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The same text with another tokenizer, from an empty cache too."""
    return prepare(data, OTHER, tmp_path_factory.mktemp("other"))


@pytest.fixture
def filled(prepared: Prepared, tmp_path: Path) -> Path:
    """A copy of the filled cache, for tests that damage or add to it."""
    return Path(shutil.copytree(prepared.cache, tmp_path / "cache"))


def equal(a: Corpus, b: Corpus) -> bool:
    arrays = [(x.ids, y.ids) for x, y in ((a.train, b.train), (a.validation, b.validation))]
    return all(np.array_equal(x, y) for x, y in arrays) and a.tokenizer.sha256 == b.tokenizer.sha256


def test_the_second_time_nothing_is_read_or_trained(
    data: DataConfig, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpora, "train_tokenizer", None)
    monkeypatch.setattr("model.data.sources.documents", None)
    assert equal(prepared.corpus, prepare(data, SMALL, prepared.cache))


def test_the_same_text_from_elsewhere_shares_tokens(
    data: DataConfig, prepared: Prepared, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.txt"
    copy.write_bytes(Path(data.source).read_bytes())
    monkeypatch.setattr(corpora, "train_tokenizer", None)
    again = prepare(DataConfig(**{**data.table(), "source": str(copy)}), SMALL, filled)
    assert again.text_sha256 == prepared.corpus.text_sha256


def test_changed_text_is_prepared_anew(data: DataConfig, filled: Path, tmp_path: Path) -> None:
    own = DataConfig(**{**data.table(), "source": str(shutil.copy(data.source, tmp_path / "own.txt"))})
    first = prepare(own, SMALL, filled)
    with Path(own.source).open("a", encoding="utf-8") as file:
        file.write("One more line.\n")
    assert prepare(own, SMALL, filled).text_sha256 != first.text_sha256


@pytest.mark.parametrize("name", ["train.u16", "validation.starts.npy", "tokenizer.model", "meta.json"])
def test_a_damaged_cache_is_rebuilt(data: DataConfig, prepared: Prepared, filled: Path, name: str) -> None:
    (damaged,) = (filled / "tokens").glob(f"*/{name}")
    damaged.write_bytes(damaged.read_bytes()[:-2])
    assert np.array_equal(prepare(data, SMALL, filled).train.ids, prepared.corpus.train.ids)


@pytest.mark.parametrize("name", ["train.utf8", "validation.lengths.npy", "meta.json"])
def test_damaged_text_is_read_again(
    data: DataConfig, prepared: Prepared, in_other_tokens: Corpus, filled: Path, name: str
) -> None:
    (damaged,) = (filled / "text").glob(f"*/{name}")
    damaged.write_bytes(damaged.read_bytes()[:-2])
    assert prepare(data, OTHER, filled).text_sha256 == prepared.corpus.text_sha256
    assert equal(prepare(data, OTHER, filled), in_other_tokens)


def test_an_index_cut_off_by_a_crash_is_written_again(data: DataConfig, prepared: Prepared, filled: Path) -> None:
    (index,) = (filled / "sources").iterdir()
    index.write_text("")
    assert prepare(data, SMALL, filled).text_sha256 == prepared.corpus.text_sha256 == index.read_text()


def test_workers_that_start_at_once_share_one_preparation(data: DataConfig, tmp_path: Path) -> None:
    told = spawn.Queue()
    workers = [spawn.Process(target=prepare_and_tell, args=(data, tmp_path / "cache", told)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [told.get(timeout=CLI_SECONDS) for _ in workers]
    for worker in workers:
        worker.join(CLI_SECONDS)
    assert len({sha for sha, _, _ in found}) == 1
    assert sum(read for _, read, _ in found) == 1
    assert sum(trained for _, _, trained in found) == 1


def test_a_tokenizer_that_loses_text_is_refused(
    data: DataConfig, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(filled / "tokens")
    monkeypatch.setattr(Tokenizer, "decode", lambda self, ids: "something else")
    with pytest.raises(DataError, match="loses text"):
        prepare(data, SMALL, filled)
    assert not list((filled / "tokens").glob("*/meta.json"))


@pytest.mark.parametrize("stage", ["reading", "training", "encoding train", "encoding validation"])
def test_a_preparation_that_was_killed_leaves_nothing_that_is_used(
    data: DataConfig, prepared: Prepared, tmp_path: Path, stage: str
) -> None:
    ready = spawn.Queue()
    doomed = spawn.Process(target=prepare_until, args=(stage, data, tmp_path / "cache", ready))
    doomed.start()
    ready.get(timeout=CLI_SECONDS)
    assert doomed.pid is not None
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.join(CLI_SECONDS)
    assert list((tmp_path / "cache").glob("*/*.unfinished"))
    assert equal(prepare(data, SMALL, tmp_path / "cache"), prepared.corpus)
    assert not list((tmp_path / "cache").glob("*/*.unfinished"))


def test_documents_end_with_the_separator_and_bytes_are_theirs(data: DataConfig, prepared: Prepared) -> None:
    corpus = prepared.corpus
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


@given(st.lists(st.integers(1, 1000), min_size=1), st.integers(1, 20_000))
def test_an_even_choice_is_enough_and_spread(sizes: list[int], least: int) -> None:
    chosen = evenly(np.array(sizes), least)
    total = sum(sizes[i] for i in chosen)
    assert total >= min(least, sum(sizes))
    assert chosen[0] == 0
    strides = np.diff(chosen)
    if len(strides):
        assert strides.min() >= 1
        assert strides.max() - strides.min() <= 1


def test_the_tokenizers_sample_comes_from_all_over_the_text(tmp_path: Path) -> None:
    """Half of the text has other words; a sample of a tenth has to know them too."""
    lines = [f"apple banana cherry {i}" for i in range(3000)] + [f"xylem zephyr quartz {i}" for i in range(3000)]
    path = tmp_path / "halves.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    config = TokenizerConfig(vocab_size=400, kind="bpe", sample_bytes=15_000)
    tokenizer = prepare(DataConfig(source=str(path), holdout_period=100, holdout_rows=5), config, tmp_path).tokenizer
    first, second = tokenizer.encode(["apple banana cherry", "xylem zephyr quartz"])
    assert len(first) < 8
    assert len(second) < 8


def test_tokenizers_are_the_same_bytes_for_all(data: DataConfig, prepared: Prepared, tmp_path: Path) -> None:
    corpora_ = [prepared.corpus, prepare(data, SMALL, tmp_path / "two")]
    assert corpora_[0].tokenizer.proto == corpora_[1].tokenizer.proto
    assert isinstance(corpora_[0].tokenizer, Tokenizer)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_builtin_text_has_bounds_in_order(kind: str, cache: Path) -> None:
    """Counting knows more than nothing, and both less than eight bits."""
    corpus = prepare(BUILTIN, TokenizerConfig(kind=kind, vocab_size=512, sample_bytes=300_000), cache)
    assert 0 < corpus.unigram_bpb < corpus.uniform_bpb < 8
    per_token = len(corpus.validation.ids) / int(corpus.validation.text_bytes.sum())
    assert corpus.uniform_bpb == pytest.approx(9 * per_token)  # log2(512) bits for each


@pytest.mark.skipif(not (SHARED_TEXT / "tinystories.parquet").exists(), reason="the shared real text is not here")
def test_real_stories_are_prepared_without_loss(tmp_path: Path) -> None:
    source = DataConfig(source=str(SHARED_TEXT / "tinystories.parquet"), column="story", holdout_rows=50)
    corpus = prepare(source, TokenizerConfig(kind="bpe", vocab_size=2048, sample_bytes=500_000), tmp_path)
    assert len(corpus.validation.text_bytes) == 50
    assert int(corpus.train.text_bytes.sum()) / len(corpus.train.ids) > 3
