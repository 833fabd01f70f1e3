import math
from pathlib import Path

import numpy as np
import pytest
import torch

from model.config import DataConfig, ModelConfig, TokenizerConfig
from model.data.corpus import Corpus, prepare
from model.data.tokens import Tokens
from model.errors import StoppedError
from model.evaluate import sum_nats, val_bpb
from model.network.transformer import Transformer


def network(context: int, vocab_size: int = 512) -> Transformer:
    config = ModelConfig(n_layer=2, n_head=2, head_dim=16, context=context)
    return Transformer(config, vocab_size, torch.Generator().manual_seed(0))


@pytest.fixture
def file_corpus(tmp_path: Path) -> tuple[Corpus, Path]:
    """A corpus from real files, its validation text one line of known bytes."""
    lines = [f"Line {i}: the quick brown fox — jumps over {i * 7} lazy dogs…  " for i in range(400)]
    path = tmp_path / "text.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    held_out = tmp_path / "held_out.txt"
    held_out.write_text(lines[0] + lines[1], encoding="utf-8")
    data = DataConfig(source=str(path), holdout_period=400, holdout_rows=2)
    return prepare(data, TokenizerConfig(vocab_size=400), tmp_path / "cache"), held_out


def test_bpb_is_that_of_one_pass_over_the_whole_text(file_corpus: tuple[Corpus, Path]) -> None:
    """Nats from the logits of the whole text at once, in float64; bytes from the file."""
    corpus, held_out = file_corpus
    net = network(context=256, vocab_size=corpus.tokenizer.vocab_size)
    stream = torch.tensor([corpus.tokenizer.separator, *corpus.validation.ids.tolist()])
    assert len(stream) <= 256
    with torch.no_grad():
        logits = net(stream[None, :-1])[0].double()
    nats = -sum(float(row.log_softmax(0)[token]) for row, token in zip(logits, stream[1:], strict=True))
    expected = nats / math.log(2) / held_out.stat().st_size
    assert val_bpb(net, corpus.validation, corpus.tokenizer.separator) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 64, 600])
def test_every_token_is_predicted_once(length: int) -> None:
    """A network of zeros gives every token ln V nats: their number is all that counts."""
    net = network(context=32)
    with torch.no_grad():
        net.embedding.weight.zero_()
    ids = np.arange(length, dtype=np.uint16) % 512
    tokens = Tokens(ids, np.array([0, length]), np.array([length * 3]))
    assert sum_nats(net, tokens, 2) == pytest.approx(length * math.log(512), rel=1e-6)
    assert val_bpb(net, tokens, 2) == pytest.approx(9 / 3, rel=1e-6)


def test_windows_do_not_see_one_another() -> None:
    net = network(context=16)
    ids = np.random.default_rng(0).integers(0, 512, 64).astype(np.uint16)
    whole = sum_nats(net, Tokens(ids, np.array([0, 64]), np.array([64])), 2)
    parts = 0.0
    for i in range(0, 64, 16):
        first = 2 if i == 0 else int(ids[i - 1])
        parts += sum_nats(net, Tokens(ids[i : i + 16], np.array([0, 16]), np.array([16])), first)
    assert whole == pytest.approx(parts, rel=1e-6)


def test_measuring_can_be_stopped() -> None:
    ids = np.zeros(64, dtype=np.uint16)
    with pytest.raises(StoppedError):
        sum_nats(network(16), Tokens(ids, np.array([0, 64]), np.array([64])), 2, lambda: True)
