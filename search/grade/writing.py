"""What models write after prompts: several samples of each, the same draws for every model, kept on disk."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from model.errors import StoppedError
from model.formats.checkpoint import Checkpoint
from model.sample import sample
from search.grade.authors import Author, fingerprint
from search.grade.store import Store, key_of

OnDone = Callable[[int, int], None]
"""Called with what is done, and all."""


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """How models write."""

    samples: int
    """Completions of each prompt."""
    tokens: int
    """Most tokens of a completion."""
    temperature: float
    top_k: int
    seed: int


@dataclass(frozen=True)
class Completion:
    """What a model has written after a prompt."""

    author: int
    """Index of the model."""
    prompt: int
    """Index of the prompt."""
    sample: int
    """Number among the completions of this model and prompt, from 0."""
    text: str
    ended: bool
    """Whether the model ended the text itself, before the most tokens were written."""


def write_all(
    authors: Sequence[Author],
    prompts: Sequence[str],
    settings: SampleSettings,
    store: Store,
    should_stop: Callable[[], bool],
    on_done: OnDone,
) -> list[Completion]:
    """Return every model's completions, by model, prompt and sample; raises `StoppedError` when asked to stop."""
    completions: list[Completion] = []
    total = len(authors) * len(prompts) * settings.samples
    for index, author in enumerate(authors):
        weights = fingerprint(author.model)
        for number, prompt in enumerate(prompts):
            for i in range(settings.samples):
                text, ended = _kept(author.model, weights, prompt, i, settings, store, should_stop)
                completions.append(Completion(index, number, i, text, ended))
                on_done(len(completions), total)
    return completions


def _kept(
    model: Checkpoint,
    weights: str,
    prompt: str,
    number: int,
    settings: SampleSettings,
    store: Store,
    should_stop: Callable[[], bool],
) -> tuple[str, bool]:
    """Return a completion and whether the model ended it, from the store if it is there."""
    seed = sample_seed(settings.seed, prompt, number)
    key = key_of("sample", weights, prompt, settings.tokens, settings.temperature, settings.top_k, seed)
    if (table := store.get(key)) is not None:
        return str(table["text"]), bool(table["ended"])
    text, ended = _written(model, prompt, seed, settings, should_stop)
    store.put(key, {"text": text, "ended": ended})
    return text, ended


def _written(
    model: Checkpoint, prompt: str, seed: int, settings: SampleSettings, should_stop: Callable[[], bool]
) -> tuple[str, bool]:
    tokens = 0

    def on_text(text: str) -> bool:
        nonlocal tokens
        tokens += 1
        if should_stop():
            raise StoppedError("stopped while models write")
        return True

    text = sample(
        model,
        prompt,
        max_tokens=settings.tokens,
        temperature=settings.temperature,
        top_k=settings.top_k,
        seed=seed,
        on_text=on_text,
    )
    return text, tokens < settings.tokens


def sample_seed(seed: int, prompt: str, number: int) -> int:
    """Return the seed of a sample, the same for every model, whichever prompts there are beside this one."""
    of_prompt = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8])
    return int(np.random.SeedSequence([seed, of_prompt, number]).generate_state(1)[0]) % 2**31
