"""Exported models under a real llama.cpp: the same ids, greedy texts and perplexity as here.

Skipped where gguf or xllamacpp (llama.cpp with its server, as a package) isn't installed; `make test-exports` installs
both beside the project. What is refused is tested everywhere.
"""

import json
import math
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.config import ModelConfig, TokenizerConfig
from model.data.corpus import Corpus, prepare
from model.errors import CheckpointError
from model.formats import gguf_file
from model.formats.checkpoint import Checkpoint
from model.formats.gguf_file import ASCII_BYTE, QUANTIZATIONS, interleaved, refusal, spelt_as_characters, write_gguf
from model.formats.tokenizer_json import is_bpe
from model.sample import sample
from tests.conftest import BUILTIN
from tests.model.formats.lively import lively

CONTEXT = 64
RUN: dict[str, dict[str, Any]] = {
    "llama": {"mlp": "swiglu"},
    "llama, grouped, untied": {"mlp": "swiglu", "attention": "grouped", "n_kv_head": 2, "tied": False},
    "qwen3": {"mlp": "swiglu", "qk_norm": True},
    "arcee, further heads": {"mlp": "relu2", "rope_base": 500.0, "mtp_heads": 1},
}
REFUSED: dict[str, dict[str, Any]] = {
    'mlp = "gelu"': {"mlp": "gelu"},
    'attention = "latent"': {"mlp": "swiglu", "attention": "latent"},
    'positions = "alibi"': {"mlp": "swiglu", "positions": "alibi"},
    "logit_softcap = 15": {"mlp": "swiglu", "logit_softcap": 15.0},
    "window = 8": {"mlp": "swiglu", "window": 8},
    "qk_norm = true": {"mlp": "relu2", "qk_norm": True},
}


@pytest.mark.parametrize(("reason", "options"), REFUSED.items(), ids=REFUSED)
def test_what_llama_cpp_cant_run_is_refused_with_the_setting(reason: str, options: dict[str, Any]) -> None:
    said = refusal(ModelConfig(context=CONTEXT, **options))
    assert said is not None
    assert said.startswith(reason)


@pytest.mark.parametrize("options", RUN.values(), ids=RUN)
def test_what_it_can_run_is_not(options: dict[str, Any]) -> None:
    assert refusal(ModelConfig(context=CONTEXT, window=CONTEXT, **options)) is None


def test_a_refusal_names_the_file_and_what_to_do(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r'a\.gguf.*mlp = "gelu".*--huggingface'):
        write_gguf(tmp_path / "a.gguf", lively(corpus, {}, CONTEXT), "x")
    assert not list(tmp_path.iterdir())


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(CheckpointError, match=r"pip install 'lilm-search\[gguf\]'"):
        gguf_file._package()


def test_rows_of_a_head_are_paired_as_llama_cpp_turns_them() -> None:
    """Two heads of width 4: rows 0 2 1 3 of each, so that the pairs (0, 2) and (1, 3) are neighbours."""
    rows = np.arange(8.0)[:, None] * np.ones((1, 3))
    assert interleaved(rows, 4)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.fixture(scope="session")
def bpe_corpus(cache: Path) -> Corpus:
    return prepare(BUILTIN, TokenizerConfig(kind="bpe", vocab_size=512, sample_bytes=300_000), cache)


@pytest.fixture(params=["unigram", "bpe"])
def either_corpus(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("corpus" if request.param == "unigram" else "bpe_corpus")


class Llama:
    """llama.cpp's own server in this process, on one thread, asked over HTTP; keys and values in float32."""

    def __init__(self, path: Path) -> None:
        import xllamacpp as llama

        params = llama.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.port, params.n_gpu_layers, params.warmup = CONTEXT, 1, 0, 0, False
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.flash_attn_type = llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.cache_type_k = params.cache_type_v = llama.ggml_type.GGML_TYPE_F32
        self.server = llama.Server(params)

    def __call__(self, path: str, **body: Any) -> Any:
        url, data = self.server.listening_address + path, json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=200) as answer:
            return json.load(answer)

    def tokens(self, text: str) -> list[int]:
        return [int(t) for t in self("/tokenize", content=text, add_special=True, parse_special=False)["tokens"]]

    def greedy(self, ids: list[int], length: int) -> str:
        return str(self("/completion", prompt=ids, n_predict=length, temperature=0, top_k=1)["content"])

    def nats(self, ids: list[int], vocab_size: int, letter: int) -> float:
        """Return the nats of every token but the first, each predicted from those before it.

        The server shows shares only beside a token that it can print: it is made to write `letter`, after them.
        """
        total, printable = 0.0, {"n_predict": 1, "temperature": 0, "logit_bias": [[letter, 1000.0]]}
        for i in range(1, len(ids)):
            answer = self("/completion", prompt=ids[:i], n_probs=vocab_size, **printable)
            shares = answer["completion_probabilities"][0]["top_logprobs"]
            total -= next(share["logprob"] for share in shares if share["id"] == ids[i])
        return total


@pytest.fixture
def llama() -> Any:
    pytest.importorskip("gguf", reason="gguf isn't installed; `make test-exports` does it")
    pytest.importorskip("xllamacpp", reason="xllamacpp isn't installed; `make test-exports` does it")
    return Llama


@pytest.mark.parametrize("options", RUN.values(), ids=RUN)
def test_greedy_text_and_perplexity_are_ours(
    llama: Any, bpe_corpus: Corpus, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = lively(bpe_corpus, options, CONTEXT)
    write_gguf(tmp_path / "model.gguf", model, "test", "f32")
    asked = llama(tmp_path / "model.gguf")
    check_greedy(model, asked)
    assert perplexity_ratio(model, asked, np.asarray(bpe_corpus.validation.ids)[:48]) == pytest.approx(1, abs=1e-3)


def check_greedy(model: Checkpoint, asked: Llama) -> None:
    for prompt in ("the ", "A list of", "x = [1, 2]\n"):
        ids = [model.tokenizer.separator, *model.tokenizer.encode([prompt])[0].tolist()]
        assert asked.greedy(ids, 20) == sample(model, prompt, max_tokens=20, temperature=0)


@torch.no_grad()
def perplexity_ratio(model: Checkpoint, asked: Llama, text: np.ndarray) -> float:
    ids = [model.tokenizer.separator, *text.tolist()]
    logits = model.network(torch.tensor([ids[:-1]]))[0]
    ours = float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum"))
    letter = int(model.tokenizer.encode(["e"])[0][-1])
    return math.exp((asked.nats(ids, model.network.vocab_size, letter) - ours) / (len(ids) - 1))


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_a_precision_is_that_of_matrices(llama: Any, bpe_corpus: Corpus, tmp_path: Path, quantization: str) -> None:
    """Read by llama.cpp's own reader; q8_0 takes the rows of 32, and f16 the others."""
    import gguf

    model = lively(bpe_corpus, {"mlp": "swiglu", "mlp_ratio": 4.0}, CONTEXT)
    write_gguf(tmp_path / "model.gguf", model, "test", quantization)
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    hidden = model.network.config.hidden_width
    assert hidden % 32 == 16
    small = {"f32": "F32", "f16": "F16", "q8_0": "Q8_0"}[quantization]
    assert kinds["blk.0.attn_q.weight"] == kinds["token_embd.weight"] == small
    assert kinds["blk.1.ffn_down.weight"] == ("F16" if quantization == "q8_0" else small)
    assert {kind for name, kind in kinds.items() if "norm" in name} == {"F32"}


def test_ids_of_validation_documents_are_ours(llama: Any, either_corpus: Corpus, tmp_path: Path) -> None:
    """With BPE all; with unigram those without rare characters beyond ASCII, and but for the order in exact ties."""
    tokenizer, ids = either_corpus.tokenizer, np.asarray(either_corpus.validation.ids)
    write_gguf(tmp_path / "model.gguf", lively(either_corpus, {"mlp": "swiglu"}, CONTEXT), "test")
    asked, pieces = llama(tmp_path / "model.gguf"), tokenizer.pieces()
    rare = {i for i, piece in enumerate(pieces) if piece.kind == "byte" and not ASCII_BYTE.fullmatch(piece.text)}
    parts = np.split(ids, np.flatnonzero(ids == tokenizer.separator))
    documents = [part[part != tokenizer.separator] for part in parts]
    spellable = [part for part in documents[:120] if is_bpe(pieces) or not rare & set(part.tolist())]
    assert len(spellable) > 100
    same = []
    for part in spellable:
        theirs, own = asked.tokens(tokenizer.decode(part)), [tokenizer.separator, *part.tolist()]
        assert sorted(theirs) == sorted(own)
        same.append(theirs == own)
    assert sum(same) >= len(same) - (0 if is_bpe(pieces) else 2)


def test_a_text_of_bytes_is_spelt_as_llama_cpp_can(corpus: Corpus) -> None:
    """A line break is a piece with SentencePiece's score for what it doesn't know; other bytes stay what they are."""
    before, after = corpus.tokenizer.pieces(), spelt_as_characters(corpus.tokenizer.pieces())
    line_break = next(i for i, piece in enumerate(before) if piece.text == "<0x0A>")
    lowest = min(piece.score for piece in before if piece.kind == "normal")
    assert after[line_break] == ("\n", lowest - 10, "normal")
    assert len({piece.text for piece in after}) == len(after)
    assert [b for a, b in zip(before, after, strict=True) if a != b and a.kind != "byte"] == []
    assert {piece.text for piece in after if piece.kind == "byte"} >= {"<0x00>", "<0x80>", "<0xFF>"}
