import math
import os
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.config import TokenizerConfig
from model.data.corpus import Corpus, bounds
from model.data.sources import documents
from model.data.tokenizer import Tokenizer, escape, train_tokenizer, unescape
from model.data.tokens import Tokens
from model.errors import DataError
from tests.conftest import BUILTIN

TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)
SAMPLE = [f"{line}\n" for line in (math.__doc__ or "", *(str(getattr(math, n).__doc__) for n in sorted(dir(math))))]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer(train_tokenizer(SAMPLE, TokenizerConfig(kind=request.param, vocab_size=350)))


@given(text=TEXTS)
@example(text="  leading, double  and trailing  ")
@example(text="\ttabs\r\nand\n\nnewlines\n")
@example(text="▁ literal U+2581 ▁▁ and \ue000 too \ue0001")
@example(text="<s></s><unk><pad> \x00\x01 NUL")
@example(text="naïve 日本語 🙂\u200d🔥 é = e\u0301")
@example(text="ﬁ Ⅷ ＡＢＣ İı ß")
def test_nothing_is_lost(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode([text])[0]) == text


@given(TEXTS, TEXTS)
def test_escapes_are_reversible_and_distinct(a: str, b: str) -> None:
    assert unescape(escape(a)) == a
    assert "▁" not in escape(a)
    assert (escape(a) == escape(b)) == (a == b)


def test_all_builtin_validation_text_comes_back(corpus: Corpus) -> None:
    held_out = [text for part, text in documents(BUILTIN) if part == "validation"]
    starts, ids = corpus.validation.starts, corpus.validation.ids
    decoded = [corpus.tokenizer.decode(ids[a : b - 1]) for a, b in pairwise(starts)]
    assert decoded == held_out
    assert set(ids[starts[1:] - 1].tolist()) == {corpus.tokenizer.separator}
    assert corpus.validation.text_bytes.tolist() == [len(t.encode()) for t in held_out]


def test_equal_text_gives_an_equal_tokenizer() -> None:
    config = TokenizerConfig(vocab_size=350)
    assert train_tokenizer(SAMPLE, config) == train_tokenizer(SAMPLE, config)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_number_of_cores_does_not_change_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet's machines differ, and their tokenizers must not: the model's bytes hold its trainer's settings."""
    config = TokenizerConfig(kind=kind, vocab_size=350)
    here = train_tokenizer(SAMPLE, config)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert train_tokenizer(SAMPLE, config) == here


def test_newlines_are_learned_inside_texts_only() -> None:
    text = "one line of it\n\tand another one\n\n" * 50
    config = TokenizerConfig(kind="bpe", vocab_size=400)
    whole, lines = ([text, *SAMPLE], [*text.splitlines(keepends=True), *SAMPLE])
    from_documents, from_lines = (Tokenizer(train_tokenizer(sample, config)) for sample in (whole, lines))
    assert len(from_documents.encode([text])[0]) < len(from_lines.encode([text])[0])


def test_long_documents_are_learned_from_too() -> None:
    long = "many words of a very long text without an end " * 30_000
    trained = Tokenizer(train_tokenizer([long, *SAMPLE], TokenizerConfig(kind="bpe", vocab_size=400)))
    assert len(trained.encode([long])[0]) <= len(long) / 4


@given(texts=st.lists(TEXTS, max_size=5))
def test_texts_are_encoded_one_by_one_without_a_separator(tokenizer: Tokenizer, texts: list[str]) -> None:
    rows = tokenizer.encode(texts)
    assert len(rows) == len(texts)
    for text, ids in zip(texts, rows, strict=True):
        assert ids.dtype == np.uint16
        assert tokenizer.separator not in ids
        assert np.array_equal(ids, tokenizer.encode([text])[0])
        assert tokenizer.decode([*ids.tolist(), tokenizer.separator]) == text


@pytest.mark.parametrize("proto", [b"", b"not a model"])
def test_bytes_that_are_no_model_are_refused(proto: bytes) -> None:
    with pytest.raises(DataError, match="not a SentencePiece model"):
        Tokenizer(proto)


@pytest.mark.parametrize(
    ("sample", "vocab_size", "says"),
    [
        (SAMPLE, 30_000, r"set `vocab_size` of \[space\], \[tokenizer\] .* to at most \d+, or give more text"),
        (
            ["".join(map(chr, range(0x4E00, 0x4FF4)))],
            320,
            r"its characters alone need at least 760; set `vocab_size` of \[space\]",
        ),
        ([], 512, "there is none"),
    ],
)
def test_what_the_text_does_allow_is_said_once(
    sample: list[str], vocab_size: int, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match=says) as caught:
        train_tokenizer(sample, TokenizerConfig(vocab_size=vocab_size))
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr().err == ""


def test_a_vocabulary_that_the_text_does_not_allow_is_refused() -> None:
    with pytest.raises(DataError, match="`vocab_size` 30000"):
        train_tokenizer(SAMPLE, TokenizerConfig(vocab_size=30_000))


def test_bounds_by_hand() -> None:
    """Four tokens of eight bytes; a vocabulary of four, seen 3, 1, 0 and 0 times: add-one makes 4, 2, 1, 1 of 8."""
    validation = Tokens(np.array([0, 0, 1, 3], dtype=np.uint16), np.array([0, 4]), np.array([8]))
    uniform, unigram = bounds(np.array([3, 1, 0, 0]), validation)
    assert uniform == pytest.approx(4 * 2 / 8)
    assert unigram == pytest.approx(-(2 * math.log2(4 / 8) + math.log2(2 / 8) + math.log2(1 / 8)) / 8)
