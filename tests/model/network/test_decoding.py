"""Reading a text token by token, with what attention keeps of it, against reading all of it at once."""

import functools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.network.transformer import Transformer
from tests.model.network.case import CONTEXT, VOCAB
from tests.model.network.menu import MENU


@functools.cache
def made(name: str) -> Transformer:
    """Return a network that no test changes; made when a test asks for it, not in each process that collects tests."""
    return MENU[name].far_from_linear()


texts = st.integers(1, 3).flatmap(
    lambda rows: st.lists(
        st.lists(st.integers(0, VOCAB - 1), min_size=CONTEXT, max_size=CONTEXT), min_size=rows, max_size=rows
    )
)


def read(network: Transformer, tokens: Tensor, cuts: list[int]) -> dict[int, Tensor]:
    """Return the logits after each cut, the tokens being read in pieces that end there."""
    state = network.initial_state(len(tokens), tokens.shape[1], torch.float32)
    return {end: network.step(tokens[:, start:end], state) for start, end in zip([0, *cuts[:-1]], cuts, strict=True)}


@given(st.sampled_from(list(MENU)), texts, st.sets(st.integers(1, CONTEXT), min_size=1))
@settings(deadline=None, max_examples=50)
@torch.no_grad()
def test_in_pieces_of_any_length_the_logits_are_those_of_the_whole(
    name: str, rows: list[list[int]], cuts: set[int]
) -> None:
    network, tokens = made(name), torch.tensor(rows)
    whole = network(tokens)
    for end, logits in read(network, tokens, sorted(cuts)).items():
        torch.testing.assert_close(logits, whole[:, end - 1], rtol=MENU[name].tolerance, atol=MENU[name].tolerance)


@pytest.mark.parametrize("name", MENU)
@torch.no_grad()
def test_token_by_token_it_is_the_network_written_out(name: str) -> None:
    network, tokens = made(name), torch.randint(0, VOCAB, (1, CONTEXT), generator=torch.Generator().manual_seed(4))
    expected = MENU[name].reference(network).logits(tokens[0])[0]
    for end, logits in read(network, tokens, list(range(1, CONTEXT + 1))).items():
        tolerance = MENU[name].tolerance
        torch.testing.assert_close(logits[0].double(), expected[end - 1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", MENU)
@torch.no_grad()
def test_in_bfloat16_it_differs_by_rounding_alone(name: str) -> None:
    network, tokens = made(name), torch.randint(0, VOCAB, (2, CONTEXT), generator=torch.Generator().manual_seed(5))
    exact = network(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        whole, state = network(tokens).float(), network.initial_state(2, CONTEXT, torch.bfloat16)
        pieces = torch.stack([network.step(tokens[:, t : t + 1], state).float() for t in range(CONTEXT)], dim=1)
    assert (pieces - exact).abs().mean() < 1.5 * (whole - exact).abs().mean()


def test_no_token_is_read_twice(monkeypatch: Any) -> None:
    network, lengths = MENU["grouped"].far_from_linear(), []
    network.embedding.register_forward_hook(lambda _, inputs, __: lengths.append(inputs[0].shape[1]))
    read(network, torch.zeros(1, CONTEXT, dtype=torch.long), [5, 6, 9, 16])
    assert lengths == [5, 1, 3, 7]
