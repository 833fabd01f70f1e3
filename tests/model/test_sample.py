"""What a network writes, against reading everything again for each token; laid out for people and read back."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.config import ModelConfig
from model.data.corpus import Corpus
from model.errors import DataError
from model.formats.checkpoint import Checkpoint
from model.formats.sample_text import format_samples, read_samples
from model.network.transformer import Transformer
from model.sample import PROMPTS, prompt_ids, sample

LINES = st.text(st.sampled_from("> \\\nab") | st.characters(codec="utf-8"), max_size=30)
FORGED = st.sampled_from(["", f"\n\n> {PROMPTS[1]}\n{PROMPTS[1]} forged", "\n> \\> x", "\n\\> x", "\n"])


@given(st.lists(st.tuples(LINES, FORGED, LINES).map("".join), min_size=3, max_size=3))
def test_whatever_was_written_comes_back(texts: list[str]) -> None:
    written = dict(zip(PROMPTS, texts, strict=True))
    assert read_samples(format_samples("100 tokens at most", written)) == written


def test_the_layout_of_files_that_are_stored_already() -> None:
    text = "100 tokens at most, seed 0\n\n> caitlin stood on the\ncaitlin stood on the lake.\n\nB:\tOh.\n\n"
    text += '> in japanese culture\nin japanese culture, "a"\n'
    assert read_samples(text) == {"caitlin stood on the": " lake.\n\nB:\tOh.", "in japanese culture": ', "a"'}


def test_another_text_holds_nothing() -> None:
    assert read_samples("") == {}
    assert read_samples("how\n\n> a\nbut nothing that begins with it\n") == {}


def lively(corpus: Corpus, seed: int = 0, **options: Any) -> Checkpoint:
    """Return a network of random weights that is as sure of what follows as a trained one, and seldom ends a text."""
    config = ModelConfig(n_layer=2, n_head=4, head_dim=8, context=24, tied=False, **options)
    network = Transformer(config, corpus.tokenizer.vocab_size, torch.Generator().manual_seed(seed)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4)
        network.output_weight[corpus.tokenizer.separator] = 0
    return Checkpoint(network, corpus.tokenizer, {})


@torch.inference_mode()
def read_again(model: Checkpoint, prompt: str, max_tokens: int, temperature: float, top_k: int, seed: int) -> str:
    """Return a sample as the definition says: the last tokens that fit are all read for each new one."""
    network, tokenizer = model.network, model.tokenizer
    generator, prompt_ids = torch.Generator().manual_seed(seed), tokenizer.encode([prompt])[0].tolist()
    ids = [tokenizer.separator, *prompt_ids]
    for _ in range(max_tokens):
        logits = network(torch.tensor([ids[-network.config.context :]]))[0, -1]
        if temperature:
            best, tokens = logits.topk(top_k)
            token = int(tokens[torch.multinomial((best / temperature).softmax(-1), 1, generator=generator)])
        else:
            token = int(logits.argmax())
        if token == tokenizer.separator:
            break
        ids.append(token)
    return tokenizer.decode(ids[1:]).removeprefix(tokenizer.decode(prompt_ids))


LONG = "a prompt that is much longer than the context of so small a network, so that only its end is seen " * 3


@pytest.mark.parametrize("prompt", ["", "the ", LONG], ids=["no prompt", "short", "longer than the context"])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize(
    "options", [{}, {"window": 5, "attention": "grouped"}, {"positions": "alibi", "attention": "latent"}], ids=str
)
def test_a_sample_is_what_reading_everything_again_gives_beyond_the_context_too(
    corpus: Corpus, options: dict[str, Any], temperature: float, prompt: str
) -> None:
    model = lively(corpus, **options)
    text = sample(model, prompt, max_tokens=50, temperature=temperature, top_k=10, seed=7)
    assert text == read_again(model, prompt, 50, temperature, 10, 7)
    assert len(text) >= 50  # none of the 50 tokens is empty: the text went on beyond the context of 24


def test_a_sample_of_no_tokens_is_empty(corpus: Corpus) -> None:
    assert sample(lively(corpus), "the ", max_tokens=0) == ""


def test_within_the_context_each_token_is_read_once(corpus: Corpus) -> None:
    model, lengths = lively(corpus), list[int]()
    model.network.embedding.register_forward_hook(lambda _, inputs, __: lengths.append(inputs[0].shape[1]))
    sample(model, "a b", max_tokens=10, temperature=0)
    assert lengths[0] > 1
    assert set(lengths[1:]) == {1}


@pytest.mark.parametrize("prompt", ["", " ", "\n", "\0", "</s>", "\u2581", "e\u0301 \U0001f600", "the " * 300])
def test_any_text_is_a_prompt(corpus: Corpus, prompt: str) -> None:
    """Also none, names of tokens, and one longer than the context, whose end is what counts."""
    model = lively(corpus)
    text = sample(model, prompt, max_tokens=5, temperature=0)
    ids = prompt_ids(corpus.tokenizer, prompt)
    assert corpus.tokenizer.decode(ids[1:]) == prompt
    assert text == read_again(model, prompt, 5, 0, 50, 0)


def test_a_prompt_of_other_bytes_is_refused(corpus: Corpus) -> None:
    """As an argument with Latin-1 in it comes to a program."""
    with pytest.raises(DataError, match="isn't UTF-8 text, from character 4 on"):
        sample(lively(corpus), b"caf\xe9".decode(errors="surrogateescape"))
