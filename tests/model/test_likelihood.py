"""Log-probabilities of whole texts: against one text at a time in float64, and in closed form."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ModelConfig
from model.errors import StoppedError
from model.likelihood import log_likelihoods
from model.network.transformer import Transformer

CONTEXT, VOCAB, SEPARATOR = 16, 320, 2
CONFIG = ModelConfig(n_layer=2, n_head=2, head_dim=8, context=CONTEXT)
NETWORK = Transformer(CONFIG, VOCAB, torch.Generator().manual_seed(0)).eval()
with torch.no_grad():
    for parameter in NETWORK.parameters():
        parameter.mul_(4)  # as far from uniform as a trained network


def one_by_one(ids: np.ndarray) -> float:
    """Σ ln p of a text, each token from its own pass over what its window has before it."""
    stream, total = [SEPARATOR, *ids.tolist()], 0.0
    for place in range(1, len(stream)):
        first = (place - 1) // CONTEXT * CONTEXT
        with torch.no_grad():
            logits = NETWORK(torch.tensor([stream[first:place]]))[0, -1].double()
        total += float(logits.log_softmax(0)[stream[place]])
    return total


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(st.integers(3, VOCAB - 1), max_size=40), min_size=1, max_size=6))
def test_texts_of_any_length_together_are_each_as_alone(texts: list[list[int]]) -> None:
    """Shorter and longer than the context, and empty."""
    arrays = [np.array(ids, dtype=np.uint16) for ids in texts]
    expected = [one_by_one(ids) for ids in arrays]
    assert log_likelihoods(NETWORK, arrays, SEPARATOR) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_a_network_of_zeros_finds_every_token_equally_likely() -> None:
    network = Transformer(CONFIG, VOCAB)
    with torch.no_grad():
        network.embedding.weight.zero_()
    texts = [np.full(n, 5, dtype=np.uint16) for n in (1, 7, 33)]
    expected = [-n * math.log(VOCAB) for n in (1, 7, 33)]
    assert log_likelihoods(network, texts, SEPARATOR) == pytest.approx(expected, rel=1e-6)


def test_stopping_is_heeded_between_batches() -> None:
    with pytest.raises(StoppedError):
        log_likelihoods(NETWORK, [np.array([5], dtype=np.uint16)], SEPARATOR, lambda: True)
