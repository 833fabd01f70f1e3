import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.data.batches import Batches
from model.data.tokens import Tokens

SEPARATOR = 2


def documents(lengths: list[int]) -> Tokens:
    """Document i is `length` tokens of value 10 + i, then the separator."""
    parts = [np.append(np.full(n, 10 + i), SEPARATOR) for i, n in enumerate(lengths)]
    starts = np.cumsum([0, *map(len, parts)])
    return Tokens(np.concatenate(parts).astype(np.uint16), starts, np.array(lengths))


def stream(batches: Batches, sizes: list[int]) -> torch.Tensor:
    return torch.cat([batches.next(n)[:, 1:].flatten() for n in sizes])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(1, 9), st.integers(0, 99))
def test_an_epoch_holds_every_document_once_whole_and_unpadded(lengths: list[int], context: int, seed: int) -> None:
    tokens = documents(lengths)
    batches = Batches(tokens, SEPARATOR, context, seed)
    rows = -(-3 * len(tokens.ids) // context)
    targets = stream(batches, [rows]).tolist()
    for epoch in range(3):
        part = targets[epoch * len(tokens.ids) : (epoch + 1) * len(tokens.ids)]
        ends = [i + 1 for i, t in enumerate(part) if t == SEPARATOR]
        found = [tuple(part[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
        wanted = [tuple(tokens.ids[a:b].tolist()) for a, b in zip(tokens.starts, tokens.starts[1:], strict=False)]
        assert sorted(found) == sorted(wanted)


def test_rows_overlap_by_the_token_that_is_target_and_input() -> None:
    batches = Batches(documents([30, 7, 90]), SEPARATOR, 8, 0)
    rows = torch.cat([batches.next(4), batches.next(3)])
    assert rows.dtype == torch.int64
    assert rows[0, 0] == SEPARATOR
    assert torch.equal(rows[1:, 0], rows[:-1, -1])


def test_the_stream_is_a_function_of_the_seed_alone() -> None:
    tokens = documents(list(range(1, 40)))

    def make(seed: int) -> Batches:
        return Batches(tokens, SEPARATOR, 8, seed)

    whole = stream(make(3), [60])
    assert torch.equal(whole, stream(make(3), [1, 9, 30, 20]))
    assert not torch.equal(whole, stream(make(4), [60]))


@given(st.lists(st.integers(1, 300), min_size=1, max_size=9), st.lists(st.integers(1, 5), max_size=9))
def test_it_is_the_documents_joined_one_by_one(lengths: list[int], sizes: list[int]) -> None:
    """Written out: numpy's permutation of the documents for each pass, concatenated; long ones span batches."""
    tokens = documents(lengths)
    random = np.random.default_rng(7)
    expected = [SEPARATOR]
    while len(expected) <= sum(sizes) * 8:
        for i in random.permutation(len(lengths)):
            expected += tokens.ids[tokens.starts[i] : tokens.starts[i + 1]].tolist()
    batches = Batches(tokens, SEPARATOR, 8, 7)
    at = 0
    for size in sizes:
        rows = batches.next(size)
        assert rows.shape == (size, 9)
        assert rows.tolist() == [expected[at + 8 * j : at + 8 * j + 9] for j in range(size)]
        at += 8 * size


@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.integers(0, 40), st.integers(1, 5))
def test_skipping_is_as_having_been_handed_out(lengths: list[int], rows: int, context: int) -> None:
    """To any place, many passes on: the stream goes on as for one who drew all of it."""
    tokens = documents(lengths)
    drawn, skipped = (Batches(tokens, SEPARATOR, context, 5) for _ in range(2))
    if rows:
        drawn.next(rows)
    skipped.skip(rows * context)
    assert torch.equal(drawn.next(9), skipped.next(9))
