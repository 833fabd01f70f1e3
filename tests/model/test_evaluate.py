import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model.config import DataConfig, ModelConfig, TokenizerConfig
from model.data.corpus import Corpus, prepare
from model.data.tokens import Tokens
from model.errors import StoppedError
from model.evaluate import _passes, document_nats, sum_nats, val_bpb
from model.network.transformer import Transformer
from model.training.compiling import missing_compiler


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


@pytest.mark.parametrize("context", [16, 256])
def test_documents_nats_are_those_of_their_tokens(file_corpus: tuple[Corpus, Path], context: int) -> None:
    """Each window's logits in float64, summed over the tokens of each document; all together, what `sum_nats` says."""
    corpus, _ = file_corpus
    net, tokens = network(context, corpus.tokenizer.vocab_size), corpus.validation
    stream = torch.tensor([corpus.tokenizer.separator, *tokens.ids.tolist()])
    expected, count = np.zeros(len(tokens.text_bytes)), len(tokens.ids)
    owner = np.searchsorted(tokens.starts[1:], np.arange(count), side="right")
    with torch.no_grad():
        for first in range(0, count, context):
            window = stream[first : min(first + context, count) + 1]
            nats = -net(window[None, :-1])[0].double().log_softmax(-1)[torch.arange(len(window) - 1), window[1:]]
            np.add.at(expected, owner[first : first + context], nats.numpy())
    found = document_nats(net, tokens, corpus.tokenizer.separator)
    assert len(found) == len(tokens.text_bytes) == 2
    assert found == pytest.approx(expected, rel=1e-6)
    assert found.sum() == pytest.approx(sum_nats(net, tokens, corpus.tokenizer.separator))


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


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("length", [1, 15, 16, 17, 48, 49, 100])
def test_passes_hold_each_token_and_what_comes_before_it(length: int, padded: bool) -> None:
    """Windows follow one another without overlap; padded ones are all of one shape, filled up after the text."""
    stream = np.arange(100, 101 + length)
    passes = list(_passes(stream, 16, 3, 7, padded=padded))
    assert np.concatenate([targets for _, targets in passes]).tolist() == stream[1:].tolist()
    inputs = np.concatenate([i.flatten() for i, _ in passes])
    assert inputs[:length].tolist() == stream[:-1].tolist()
    assert set(inputs[length:].tolist()) <= {7}
    if padded:
        assert {i.shape for i, _ in passes} == {(3, 16)}
    else:
        assert len(inputs) == length


COMPILED = """
import numpy as np
import torch
import torch._dynamo.utils
from model.config import ModelConfig
from model.data.tokens import Tokens
from model.evaluate import rehearse, sum_nats
from model.network.transformer import Transformer

config = ModelConfig(n_layer=3, n_head=2, head_dim=8, context=16, logit_softcap=5.0, attention="grouped", window=9)
net = Transformer(config, 64, torch.Generator().manual_seed(0))
with torch.no_grad():
    for p in net.parameters():
        p.mul_(3)
ids = np.random.default_rng(0).integers(0, 64, 5000).astype(np.uint16)
rehearse(net, torch.float32, compiled=True)
for length in (1, 16, 17, 2048, 5000):
    text = Tokens(ids[:length], np.array([0, length]), np.array([length]))
    eager, compiled = (sum_nats(net, text, 2, dtype=torch.float32, compiled=c) for c in (False, True))
    assert abs(compiled / eager - 1) < 1e-5, (length, eager, compiled)
# Blocks are one graph, the loss another, whatever the length of the text; inference is no reason to compile anew.
assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2, torch._dynamo.utils.counters
print("agree")
"""


@pytest.mark.skipif(bool(missing_compiler(torch.device("cpu"))), reason="needs a C++ compiler")
@pytest.mark.slow
def test_compiled_evaluation_is_the_eager_one() -> None:
    """In a process of its own: the shape checks of this one would be compiled along."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False, timeout=280)
    assert done.stdout.strip() == "agree", done.stderr[-2000:]


def test_measuring_can_be_stopped() -> None:
    ids = np.zeros(64, dtype=np.uint16)
    with pytest.raises(StoppedError):
        sum_nats(network(16), Tokens(ids, np.array([0, 64]), np.array([64])), 2, lambda: True)
