"""The division of validation text, and the difference of two models on the same documents."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap, t

from model.config import TokenizerConfig
from model.data.corpus import Corpus, prepare
from model.data.tokens import Tokens
from search.common.errors import SearchError
from search.retrain.held_out import difference, divide
from tests.conftest import BUILTIN

LN2 = math.log(2)


def texts(corpus: Corpus, tokens: Tokens) -> list[str]:
    bounds = zip(tokens.starts[:-1], tokens.starts[1:], strict=True)
    return [corpus.tokenizer.decode(np.asarray(tokens.ids[first : last - 1])) for first, last in bounds]


def test_divided_text_is_all_of_it_each_document_once(corpus: Corpus) -> None:
    parts = divide(corpus.validation, corpus.tokenizer)
    found = [texts(corpus, part) for part in parts]
    assert sorted([*found[0], *found[1]]) == sorted(texts(corpus, corpus.validation))
    assert not set(found[0]) & set(found[1])
    for part, documents in zip(parts, found, strict=True):
        assert part.text_bytes.tolist() == [len(text.encode()) for text in documents]
        assert set(part.ids[part.starts[1:] - 1].tolist()) == {corpus.tokenizer.separator}


def test_divided_text_is_the_same_with_another_tokenizer_and_in_another_order(corpus: Corpus, cache: object) -> None:
    other = prepare(BUILTIN, TokenizerConfig(kind="bpe", vocab_size=512, sample_bytes=300_000), cache)  # type: ignore[arg-type]
    assert other.tokenizer.sha256 != corpus.tokenizer.sha256
    ours, theirs = (divide(each.validation, each.tokenizer)[1] for each in (corpus, other))
    assert texts(corpus, ours) == texts(other, theirs)
    backwards = corpus.validation.documents(np.arange(len(corpus.validation.text_bytes))[::-1])
    assert texts(corpus, divide(backwards, corpus.tokenizer)[1]) == texts(corpus, ours)[::-1]


def test_divided_text_has_documents_that_are_alike_in_one_part(corpus: Corpus) -> None:
    n = len(corpus.validation.text_bytes)
    twice = corpus.validation.documents(np.concatenate((np.arange(n), np.arange(n))))
    first, second = (set(texts(corpus, part)) for part in divide(twice, corpus.tokenizer))
    assert not first & second


def test_divided_text_needs_two_parts(corpus: Corpus) -> None:
    with pytest.raises(SearchError, match="has 1 documents, which can't be divided"):
        divide(corpus.validation.documents(np.array([0])), corpus.tokenizer)


def test_difference_by_hand() -> None:
    """Bits -2 and +4 of 10 and 30 bytes: D = 0.05. Deviations -2.5 and 2.5; √(2 · 12.5) / 40 = 0.125; t(1) = 12.706."""
    found = difference(np.array([5.0, 7.0]) * LN2, np.array([3.0, 11.0]) * LN2, np.array([10, 30]))
    assert found.bpb == pytest.approx(0.05)
    assert found.half_width == pytest.approx(0.125 * t.ppf(0.975, 1))
    assert (found.sign, found.text) == (0, "+0.0500 ± 1.5883")


def test_difference_has_the_bootstraps_interval() -> None:
    """scipy's percentile bootstrap over whole documents, of unequal lengths."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(200, 4000, 150)
    before = sizes * rng.normal(1.5, 0.2, 150)
    after = before - sizes * rng.normal(0.02, 0.05, 150)
    found = difference(before, after, sizes)

    def ratio(one: np.ndarray, two: np.ndarray, size: np.ndarray) -> float:
        return float((two - one).sum() / (LN2 * size.sum()))

    drawn = bootstrap(
        (before, after, sizes), ratio, paired=True, vectorized=False, n_resamples=2000, method="percentile", rng=0
    )
    assert found.half_width is not None
    assert found.bpb == pytest.approx(ratio(before, after, sizes))
    assert [found.bpb - found.half_width, found.bpb + found.half_width] == pytest.approx(
        [drawn.confidence_interval.low, drawn.confidence_interval.high], abs=0.1 * found.half_width
    )
    assert found.sign == -1


def test_difference_of_one_document_has_no_interval() -> None:
    found = difference(np.array([5.0]), np.array([4.0]), np.array([10]))
    assert (found.half_width, found.sign, found.text) == (None, 0, f"{-1 / LN2 / 10:+.4f}")


def test_difference_is_nothing_between_equals() -> None:
    nats = torch.rand(20).double().numpy()
    found = difference(nats, nats, np.full(20, 100))
    assert (found.bpb, found.half_width, found.sign) == (0.0, 0.0, 0)
