"""What several tests of training measure on."""

import dataclasses

import numpy as np
import pytest

from model.data.corpus import Corpus, bounds


@pytest.fixture(scope="session")
def brief_corpus(corpus: Corpus) -> Corpus:
    """Built-in text with little of it to measure on, and the bounds of this little itself."""
    validation = corpus.validation.subset(8000)
    counts = np.bincount(corpus.train.ids, minlength=corpus.tokenizer.vocab_size)
    uniform, unigram = bounds(counts, validation)
    return dataclasses.replace(corpus, validation=validation, uniform_bpb=uniform, unigram_bpb=unigram)


@pytest.fixture(autouse=True)
def _unchecked(shapes_unchecked: None) -> None:
    """Thousands of steps would check the same shapes again."""
