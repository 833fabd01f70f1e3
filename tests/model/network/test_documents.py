"""Documents packed into one sequence are as if each stood alone."""

import pytest
import torch

from model.config import ModelConfig
from model.data.corpus import Corpus
from model.errors import SettingsError
from model.options.documents import SEPARATOR
from tests.model.network.case import CONTEXT, Case, tokens

WITHIN = Case(options={"document_mask": True})


def test_a_packed_document_is_the_document_alone() -> None:
    """Its logits are those of a sequence that begins with its separator, wherever it stands: positions are relative."""
    net, packed = WITHIN.far_from_linear(), tokens(1)
    begin = packed[0].tolist().index(SEPARATOR)
    assert 0 < begin < CONTEXT - 2
    together = net(packed)
    torch.testing.assert_close(together[:, begin:], net(packed[:, begin:]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together[:, :begin], net(packed[:, :begin]), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(Case().far_from_linear()(packed)[:, begin:], together[:, begin:], atol=1e-3)


def test_every_tokenizer_separates_by_this_token(corpus: Corpus) -> None:
    assert corpus.tokenizer.separator == SEPARATOR
    assert (corpus.train.ids[corpus.train.starts[1:] - 1] == SEPARATOR).all()


def test_a_bias_beside_it_is_refused() -> None:
    with pytest.raises(SettingsError, match='`document_mask` is true, but must be false where positions = "alibi"'):
        ModelConfig(document_mask=True, positions="alibi")
