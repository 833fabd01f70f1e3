"""How far transformers and llama.cpp are from our logits, ids and texts: a Markdown row for each network that they run.

.exports/bin/python -m tests.exports.equality      after `make test-exports`, which makes this environment

The networks are those of docs/reference/exported.md, small and of random weights three times as large as initial ones,
so that they are as sure of the next token as trained ones. Logits: the largest difference over random ids and
validation text, at once and from the cache in pieces, ÷ the standard deviation of ours. llama.cpp: F32 files, keys and
values in float32.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from docs.generate.exported import PLAIN, combinations, idea_options, places, plain_options, written
from model.config import TokenizerConfig
from model.data.corpus import Corpus, prepare
from model.data.tokenizer import Tokenizer
from model.formats.checkpoint import Checkpoint
from model.formats.gguf_file import write_gguf
from model.formats.load import write_folder
from model.formats.safetensors_folder import files_of
from model.sample import sample
from tests.conftest import BUILTIN
from tests.model.formats.lively import lively
from tests.model.formats.test_gguf import CONTEXT, Llama, perplexity_ratio
from tests.model.formats.test_transformers import theirs, tokens_of, transformers

WINDOW = 8
"""Window in these networks, whose context is short."""
PROMPTS, LENGTH = ("the ", "A list of", "x = [1, 2]\n"), 30
NETWORKS = ("network", "transformers", "logits", "from the cache", "texts", "llama.cpp", "perplexity ÷ ours", "texts")
TOKENIZERS = ("tokenizer", "documents", "same ids in transformers", "in another order", "same ids in llama.cpp")


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        place = Path(folder)
        corpora = {
            kind: prepare(BUILTIN, TokenizerConfig(kind=kind, vocab_size=512, sample_bytes=300_000), place / "cache")
            for kind in ("bpe", "unigram")
        }
        show(NETWORKS, ["---"] * len(NETWORKS))
        for number, (name, options) in enumerate(networks().items()):
            show(row(name, options, corpora["bpe"], place / str(number)))
        print()
        show(TOKENIZERS, ["---"] * len(TOKENIZERS))
        for kind, corpus in corpora.items():
            show(ids_row(kind, corpus, place / kind))


def show(*rows: Sequence[str]) -> None:
    """Print rows of a table."""
    for cells in rows:
        print(f"| {' | '.join(cells)} |", flush=True)


def networks() -> dict[str, dict[str, Any]]:
    """Return the networks of the page, each once, by what a study file says of them."""
    once: dict[Any, dict[str, Any]] = {}
    for options in (*plain_options(), *combinations(), *idea_options().values()):
        once.setdefault(tuple(sorted({**PLAIN, **options}.items())), options)
    return {written(o): o for o in once.values()}


def row(name: str, options: dict[str, Any], corpus: Corpus, place: Path) -> Sequence[str]:
    """Return one network's row."""
    place.mkdir()
    there, llama_cpp, _ = places(options)
    model = lively(corpus, {**PLAIN, **options, **({"window": WINDOW} if "window" in options else {})}, CONTEXT)
    other = theirs(model, place / "folder")
    random = torch.randint(0, model.network.vocab_size, (3, CONTEXT), generator=torch.Generator().manual_seed(1))
    inputs = (random, tokens_of(corpus, 3, CONTEXT))
    at_once = max(apart(other(ids).logits, model.network(ids)) for ids in inputs)
    cached = max(apart(in_pieces(other, ids), model.network(ids)) for ids in inputs)
    texts = sum(same(model, prompt, greedy(model, other, prompt)) for prompt in PROMPTS)
    cells = (name, there, f"{at_once:.0e}", f"{cached:.0e}", f"{texts} of {len(PROMPTS)}")
    if llama_cpp.startswith("refused"):
        return (*cells, "refused", "", "")
    write_gguf(place / "model.gguf", model, "test", "f32")
    asked = Llama(place / "model.gguf")
    ratio = perplexity_ratio(model, asked, np.asarray(corpus.validation.ids)[:48])
    texts = sum(same(model, prompt, asked.greedy(ids_of(model, prompt), LENGTH)) for prompt in PROMPTS)
    return (*cells, llama_cpp, f"1 {ratio - 1:+.0e}", f"{texts} of {len(PROMPTS)}")


def apart(a: Tensor, b: Tensor) -> float:
    """Return the largest difference ÷ the standard deviation of ours."""
    return float((a - b).abs().max() / b.std())


def in_pieces(other: Any, ids: Tensor) -> Tensor:
    """Return the logits of 13 tokens and then of each by itself, with what the cache keeps."""
    output = other(ids[:, :13], use_cache=True)
    parts, name = [output.logits], "cache" if "cache" in output else "past_key_values"
    for t in range(13, ids.shape[1]):
        output = other(ids[:, t : t + 1], **{name: output[name]}, use_cache=True)
        parts.append(output.logits)
    return torch.cat(parts, dim=1)


def ids_of(model: Checkpoint, prompt: str) -> list[int]:
    """Return a prompt's ids, after the separator."""
    return [model.tokenizer.separator, *model.tokenizer.encode([prompt])[0].tolist()]


def greedy(model: Checkpoint, other: Any, prompt: str) -> str:
    """Return what transformers' `generate` writes after a prompt."""
    ids = torch.tensor([ids_of(model, prompt)])
    made = other.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=LENGTH)[0]
    return model.tokenizer.decode(made[1:].numpy())[len(prompt) :]


def same(model: Checkpoint, prompt: str, text: str) -> bool:
    """Return whether a text is ours."""
    return text == sample(model, prompt, max_tokens=LENGTH, temperature=0)


def ids_row(kind: str, corpus: Corpus, place: Path) -> Sequence[str]:
    """Return a tokenizer's row: of how many validation documents other programs' ids are ours."""
    tokenizer, model = corpus.tokenizer, lively(corpus, PLAIN, CONTEXT)
    write_folder(place, files_of(model))
    write_gguf(place / "model.gguf", model, "test", "f32")
    auto, asked = transformers.AutoTokenizer.from_pretrained(place), Llama(place / "model.gguf")
    documents = texts_of(corpus, tokenizer)
    ours = [ids.tolist() for ids in tokenizer.encode(documents)]
    hugging = auto(documents, add_special_tokens=False)["input_ids"]
    llama = [asked.tokens(text)[1:] for text in documents]
    reordered = sum(a != b and sorted(a) == sorted(b) for a, b in zip(ours, hugging, strict=True))
    counts = (len(documents), equal(ours, hugging), reordered, equal(ours, llama))
    return (kind, *map(str, counts))


def equal(ours: list[list[int]], others: list[list[int]]) -> int:
    """Return how many documents have the same ids."""
    return sum(a == b for a, b in zip(ours, others, strict=True))


def texts_of(corpus: Corpus, tokenizer: Tokenizer) -> list[str]:
    """Return every validation document."""
    ids = np.asarray(corpus.validation.ids)
    return [tokenizer.decode(part) for part in np.split(ids, np.flatnonzero(ids == tokenizer.separator))]


if __name__ == "__main__":
    main()
