import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.config import TokenizerConfig
from model.corpus import Corpus, Tokens, bounds
from model.errors import DataError
from model.text import documents
from model.tokenizer import Tokenizer, escape, train_tokenizer, unescape
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


def test_a_vocabulary_that_the_text_does_not_allow_is_refused() -> None:
    with pytest.raises(DataError, match="`vocab_size` 30000"):
        train_tokenizer(SAMPLE, TokenizerConfig(vocab_size=30_000))


def test_bounds_by_hand() -> None:
    """Four tokens of eight bytes; a vocabulary of four, seen 3, 1, 0 and 0 times: add-one makes 4, 2, 1, 1 of 8."""
    validation = Tokens(np.array([0, 0, 1, 3], dtype=np.uint16), np.array([0, 4]), np.array([8]))
    uniform, unigram = bounds(np.array([3, 1, 0, 0]), validation)
    assert uniform == pytest.approx(4 * 2 / 8)
    assert unigram == pytest.approx(-(2 * math.log2(4 / 8) + math.log2(2 / 8) + math.log2(1 / 8)) / 8)
