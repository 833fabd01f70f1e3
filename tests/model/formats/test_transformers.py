"""Exported models under Hugging Face's transformers: the same logits, ids and texts as here.

Skipped where transformers isn't installed; `make test-exports` installs it beside the project.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.config import TokenizerConfig
from model.data.corpus import Corpus, prepare
from model.data.tokenizer import Tokenizer
from model.evaluate import sum_nats
from model.formats.checkpoint import Checkpoint
from model.formats.load import write_folder
from model.formats.safetensors_folder import files_of
from model.formats.tokenizer_json import is_bpe
from model.formats.transformers_layout import model_type
from model.sample import sample
from tests.conftest import BUILTIN
from tests.model.formats.lively import CONTEXT, lively
from tests.model.formats.test_transformers_layout import IDEAS, MENU, WITH_CODE

transformers = pytest.importorskip("transformers", reason="transformers isn't installed; `make test-exports` does it")
pytestmark = pytest.mark.filterwarnings("default")

whole_menu = pytest.mark.parametrize(("kind", "options"), MENU.values(), ids=MENU)


def theirs(model: Checkpoint, folder: Path) -> Any:
    write_folder(folder, files_of(model))
    code = model_type(model.network.config) == "lilm"
    loaded, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=code, output_loading_info=True
    )
    assert not any(info.values()), info
    return loaded.eval()


def tokens_of(corpus: Corpus, rows: int, length: int = CONTEXT) -> Tensor:
    ids = np.asarray(corpus.validation.ids)[: rows * length].astype(np.int64)
    return torch.from_numpy(ids.reshape(rows, length))


@whole_menu
@torch.no_grad()
def test_logits_padding_cache_and_greedy_text_are_ours(
    corpus: Corpus, tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    model = lively(corpus, options)
    assert model_type(model.network.config) == kind
    other = theirs(model, tmp_path / "folder")
    assert type(other).__name__.lower().removesuffix("forcausallm") == kind
    random = torch.randint(0, model.network.vocab_size, (3, CONTEXT), generator=torch.Generator().manual_seed(1))
    for rows in (random, tokens_of(corpus, 3)):
        close(other(rows).logits, model.network(rows))
    _check_padding(model, other, random)
    _check_cache(model, other, random)
    _check_padded_cache(model, other, random)
    for prompt in ("the ", "A list of", "x = [1, 2]\n"):
        ids = torch.tensor([[model.tokenizer.separator, *model.tokenizer.encode([prompt])[0].tolist()]])
        written = other.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=30)[0]
        text = model.tokenizer.decode(written[1:].numpy())[len(prompt) :]
        assert text == sample(model, prompt, max_tokens=30, temperature=0)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def _check_padding(model: Checkpoint, other: Any, rows: Tensor) -> None:
    for lengths, side in (((20, 31, 7), "left"), ((20, 31, 7), "right")):
        width = max(lengths)
        padded, mask = torch.full((3, width), model.tokenizer.separator), torch.zeros(3, width, dtype=torch.long)
        places = [slice(width - n, width) if side == "left" else slice(0, n) for n in lengths]
        for i, (n, place) in enumerate(zip(lengths, places, strict=True)):
            padded[i, place], mask[i, place] = rows[i, :n], 1
        logits = other(padded, attention_mask=mask).logits
        for i, (n, place) in enumerate(zip(lengths, places, strict=True)):
            close(logits[i, place], model.network(rows[i : i + 1, :n])[0])


def _check_cache(model: Checkpoint, other: Any, rows: Tensor) -> None:
    """In pieces of 13 and 1 tokens, whatever the cache's name is in this version."""
    whole, first = model.network(rows[:, :20]), other(rows[:, :13], use_cache=True)
    close(first.logits, whole[:, :13])
    name = "cache" if "cache" in first else "past_key_values"
    cache = first[name]
    for t in range(13, 20):
        step = other(rows[:, t : t + 1], **{name: cache}, use_cache=True)
        close(step.logits[:, 0], whole[:, t])
        cache = step[name]


def _check_padded_cache(model: Checkpoint, other: Any, rows: Tensor) -> None:
    """In pieces of 13 and 1 tokens, after padding of another length in each row."""
    lengths = (13, 9, 4)
    start, mask = torch.full((3, 13), model.tokenizer.separator), torch.zeros(3, 20, dtype=torch.long)
    for i, n in enumerate(lengths):
        start[i, 13 - n :], mask[i, 13 - n :] = rows[i, :n], 1
    output = other(start, attention_mask=mask[:, :13], use_cache=True)
    name = "cache" if "cache" in output else "past_key_values"
    for t in range(7):
        following = torch.stack([rows[i, n + t : n + t + 1] for i, n in enumerate(lengths)])
        output = other(following, attention_mask=mask[:, : 14 + t], **{name: output[name]}, use_cache=True)
        for i, n in enumerate(lengths):
            close(output.logits[i, 0], model.network(rows[i : i + 1, : n + t + 1])[0, -1])


BEYOND = {"alibi": WITH_CODE["alibi"][1], **{name: IDEAS[name] for name in ("state space", "segments", "tracks")}}


@pytest.mark.parametrize("options", BEYOND.values(), ids=BEYOND)
@torch.no_grad()
def test_beams_are_those_without_a_cache_and_text_goes_on_beyond_the_context(
    corpus: Corpus, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = lively(corpus, options)
    other = theirs(model, tmp_path / "folder")
    ids = torch.tensor([[model.tokenizer.separator, *model.tokenizer.encode(["the "])[0].tolist()]])
    asked = {"attention_mask": torch.ones_like(ids), "do_sample": False}
    beams = [other.generate(ids, num_beams=3, max_new_tokens=12, use_cache=c, **asked) for c in (True, False)]
    assert torch.equal(*beams)
    written = other.generate(ids, max_new_tokens=CONTEXT + 8, **asked)[0]
    text = model.tokenizer.decode(written[1:].numpy())[len("the ") :]
    assert text == sample(model, "the ", max_tokens=CONTEXT + 8, temperature=0)


@torch.no_grad()
def test_what_a_network_with_code_can_not_do_is_refused_in_a_sentence(corpus: Corpus, tmp_path: Path) -> None:
    model = lively(corpus, WITH_CODE["alibi"][1])
    other = theirs(model, tmp_path / "folder")
    long = torch.zeros(1, CONTEXT + 2, dtype=torch.long)
    with pytest.raises(ValueError, match=f"has {CONTEXT + 2} tokens, but this network sees {CONTEXT} at once"):
        other(long)
    close(other(long, logits_to_keep=1).logits[:, 0], model.network(long[:, 2:])[:, -1])
    with pytest.raises(ValueError, match="inputs_embeds: a network of lilm-search takes token ids"):
        other(inputs_embeds=torch.zeros(1, 3, 32))
    with pytest.raises(ValueError, match="StaticCache, but must be a DynamicCache"):
        other.generate(long[:, :3], cache_implementation="static", max_new_tokens=2)


@pytest.mark.parametrize("options", [WITH_CODE["alibi"][1], IDEAS["ternary"], IDEAS["moving averages"]])
@torch.no_grad()
def test_a_network_with_code_stays_in_float32_and_autocast_narrows_its_products(
    corpus: Corpus, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = lively(corpus, options)
    theirs(model, tmp_path / "folder")
    other = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "folder", trust_remote_code=True, dtype=torch.bfloat16
    ).eval()
    rows = tokens_of(corpus, 2)
    close(other(rows).logits, model.network(rows))
    with torch.autocast("cpu", torch.bfloat16):
        ours, whole, cached = model.network(rows), other(rows).logits, other(rows, use_cache=True).logits
    assert torch.equal(whole, ours)
    assert (cached - ours).abs().mean() < 0.1 * ours.float().std()


def test_a_network_with_code_learns_on_and_is_saved_as_it_was_loaded(corpus: Corpus, tmp_path: Path) -> None:
    model = lively(corpus, IDEAS["experts"])
    other = theirs(model, tmp_path / "folder")
    rows = tokens_of(corpus, 2)
    loss = other(rows, labels=rows).loss
    expected = torch.nn.functional.cross_entropy(model.network(rows)[:, :-1].flatten(0, 1), rows[:, 1:].flatten())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    apart = {name.rpartition(".")[2] for name, p in other.named_parameters() if p.grad is None}
    assert apart == {"bias"}  # of experts, which no gradient moves
    other.save_pretrained(tmp_path / "saved")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved", trust_remote_code=True)
    with torch.no_grad():
        assert torch.equal(again.eval()(rows).logits, other(rows).logits)


@torch.no_grad()
def test_a_perplexity_of_theirs_is_ours(corpus: Corpus, tmp_path: Path) -> None:
    model = lively(corpus, {"mlp": "swiglu"})
    other = theirs(model, tmp_path / "folder")
    windows = tokens_of(corpus, 40)
    rows = torch.cat((torch.full((1,), model.tokenizer.separator), windows.flatten()))
    logits = other(rows[:-1].reshape(-1, CONTEXT)).logits.flatten(0, 1)
    nats = float(torch.nn.functional.cross_entropy(logits, rows[1:], reduction="sum"))
    text = replace(corpus.validation, ids=windows.flatten().numpy().astype(np.uint16))
    ours = sum_nats(model.network, text, model.tokenizer.separator)
    assert nats == pytest.approx(ours, rel=1e-5)


@pytest.fixture(scope="session", params=["unigram", "bpe"])
def either_corpus(request: pytest.FixtureRequest, cache: Path) -> Corpus:
    if request.param == "unigram":
        return cast(Corpus, request.getfixturevalue("corpus"))
    return prepare(BUILTIN, TokenizerConfig(kind="bpe", vocab_size=512, sample_bytes=300_000), cache)


RESERVED = ["</s>", "<s>", "<unk>", "<0x0A>", "▁", "\u2585", "\ue000", "\ue0001", "\ue004x", "\x00", "\x1f"]
ODD = [
    *RESERVED,
    "",
    " ",
    "  a",
    "a  ",
    "\n",
    "a</s>b",
    "<s> x </s>",
    "a▁b",
    "日本語 😀",
    "e\u0301",
    "\r\n\t",
    "a</s",
    "ﬁ Å",
]
PARTS = st.sampled_from([*RESERVED, " ", "the", "\n"]) | st.text(max_size=5)


@pytest.fixture
def their_tokenizer(either_corpus: Corpus, tmp_path: Path) -> Any:
    write_folder(tmp_path / "folder", files_of(lively(either_corpus, {})))
    return transformers.AutoTokenizer.from_pretrained(tmp_path / "folder")


def check_ids(ours: Tokenizer, theirs: Any, texts: Sequence[str]) -> list[str]:
    """Check that ids and texts are ours; return the texts whose unigram tokens are the same in another order.

    Where two segmentations have exactly equal scores, as `* **` and `** *`, SentencePiece's choice is float32's noise.
    """
    ids = [row.tolist() for row in ours.encode(texts)]
    other = theirs(list(texts), add_special_tokens=False)["input_ids"]
    assert theirs(list(texts))["input_ids"] == [[ours.separator, *row] for row in other]
    for rows in (ids, other):
        assert [theirs.decode(row, skip_special_tokens=True) for row in rows] == list(texts)
    if is_bpe(ours.pieces()):
        assert other == ids
    assert list(map(sorted, other)) == list(map(sorted, ids))
    return [text for text, a, b in zip(texts, ids, other, strict=True) if a != b]


def test_ids_of_every_validation_document_and_of_odd_texts_are_ours(
    either_corpus: Corpus, their_tokenizer: Any
) -> None:
    tokenizer, ids = either_corpus.tokenizer, np.asarray(either_corpus.validation.ids)
    documents = [tokenizer.decode(part) for part in np.split(ids, np.flatnonzero(ids == tokenizer.separator))]
    assert len(documents) > 300
    assert len(check_ids(tokenizer, their_tokenizer, documents)) < 0.01 * len(documents)
    assert check_ids(tokenizer, their_tokenizer, ODD) == []


@given(st.lists(st.lists(PARTS, max_size=6).map("".join), min_size=20, max_size=20))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ids_of_any_text_are_ours(either_corpus: Corpus, their_tokenizer: Any, texts: list[str]) -> None:
    check_ids(either_corpus.tokenizer, their_tokenizer, texts)
