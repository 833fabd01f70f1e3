from pathlib import Path

import pytest
import torch

from model.config import ModelConfig
from model.data.corpus import Corpus
from model.errors import CheckpointError
from model.formats.checkpoint import load, save
from model.network.transformer import Transformer
from model.sample import sample

CPU = torch.device("cpu")


@pytest.fixture
def saved(corpus: Corpus, tmp_path: Path) -> tuple[Path, Transformer]:
    config = ModelConfig(n_layer=1, n_head=2, head_dim=16, context=16)
    network = Transformer(config, corpus.tokenizer.vocab_size, torch.Generator().manual_seed(0))
    path = tmp_path / "a.pt"
    save(path, network, corpus.tokenizer, {"val_bpb": 1.5})
    return path, network


def test_what_is_loaded_is_what_was_saved(saved: tuple[Path, Transformer], corpus: Corpus) -> None:
    path, network = saved
    loaded = load(path, CPU)
    ids = torch.arange(16)[None]
    assert torch.equal(loaded.network(ids), network(ids))
    assert loaded.tokenizer.proto == corpus.tokenizer.proto
    assert loaded.info == {"val_bpb": 1.5}
    assert [p.name for p in path.parent.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated", "foreign", "folder"])
def test_what_is_no_checkpoint_is_refused(saved: tuple[Path, Transformer], damage: str) -> None:
    path, _ = saved
    if damage == "missing":
        path = path.with_name("none.pt")
    elif damage == "folder":
        path = path.parent
    elif damage == "foreign":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "text": b"hello", "truncated": whole[: len(whole) // 2]}[damage])
    with pytest.raises(CheckpointError, match=str(path)):
        load(path, CPU)


def test_a_failed_write_leaves_nothing(saved: tuple[Path, Transformer], corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="can't be written"):
        save(tmp_path / "no" / "folder.pt", saved[1], corpus.tokenizer, {})


def test_samples_are_a_function_of_the_seed_and_leave_the_prompt_out(saved: tuple[Path, Transformer]) -> None:
    loaded = load(saved[0], CPU)
    first = sample(loaded, "the ", max_tokens=30, seed=1)
    assert first == sample(loaded, "the ", max_tokens=30, seed=1)
    assert first != sample(loaded, "the ", max_tokens=30, seed=2)
    assert not first.startswith("the ")
    assert sample(loaded, "", max_tokens=5) is not None
    long = sample(loaded, "word " * 100, max_tokens=5, temperature=0)
    assert len(loaded.tokenizer.encode([long])[0]) <= 7
