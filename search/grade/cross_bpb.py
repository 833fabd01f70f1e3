"""How well each model foretells what the others have written."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from model.formats.checkpoint import Checkpoint
from model.likelihood import log_likelihoods
from model.network.device import on_device
from search.grade.authors import Author
from search.grade.writing import Completion


def completion_bits(
    model: Checkpoint, prompts: Sequence[str], completions: Sequence[Completion], should_stop: Callable[[], bool]
) -> np.ndarray:
    """Return float64 (completions): the bits that a model needs for each, given its prompt.

    -log₂ p(completion | prompt) = (ln p(prompt) - ln p(prompt and completion)) / ln 2, each text in the model's own
    tokens. Where the completion's first signs share a token with the prompt's last ones, that token counts with the
    completion. Raises `StoppedError` when asked to stop.
    """
    texts = [*prompts, *(prompts[c.prompt] + c.text for c in completions)]
    ids = model.tokenizer.encode(texts)
    with on_device(model.network.embedding.weight.device):
        nats = -log_likelihoods(model.network, ids, model.tokenizer.separator, should_stop)
    given = nats[: len(prompts)][[c.prompt for c in completions]]
    return np.asarray((nats[len(prompts) :] - given) / math.log(2))


def cross_bits(
    authors: Sequence[Author],
    prompts: Sequence[str],
    completions: Sequence[Completion],
    should_stop: Callable[[], bool],
    on_done: Callable[[int, int], None],
) -> np.ndarray:
    """Return float64 (readers, completions): the bits that each model, as a reader, needs for every completion."""
    rows = []
    for done, reader in enumerate(authors, start=1):
        rows.append(completion_bits(reader.model, prompts, completions, should_stop))
        on_done(done, len(authors))
    return np.stack(rows)
