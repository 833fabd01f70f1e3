"""Samples: text that a trained network writes after a prompt."""

from collections.abc import Callable

import torch

from model.data.tokenizer import Tokenizer
from model.errors import DataError
from model.formats.checkpoint import Checkpoint
from model.formats.sample_text import format_samples
from model.network.device import autocast, precision
from model.network.transformer import ReadState, Transformer

PROMPTS = ("caitlin stood on the", "jayden had a jolly good time", "in japanese culture, women are often")
"""Prompts of the samples that are kept of every confirmed network."""


COLDEST = 1e-6
"""Temperature below which the likeliest token is taken: dividing logits by less would overflow float32."""


@torch.no_grad()  # in torch.inference_mode() autocast would narrow all weights again for each token
def sample(
    checkpoint: Checkpoint,
    prompt: str,
    *,
    max_tokens: int = 100,
    temperature: float = 0.8,
    top_k: int = 50,
    top_p: float = 1.0,
    seed: int = 0,
    on_text: Callable[[str], bool] | None = None,
) -> str:
    """Return what follows the prompt, until the document ends or `max_tokens` are written.

    Each token is drawn among the `top_k` likeliest, and of those among the fewest that have `top_p` of the probability;
    a temperature of 0 takes the likeliest. If the prompt is longer than the context, only its end is used. `on_text` is
    called after each token with all the text so far, and returns whether to go on. Raises `DataError` if the prompt
    isn't text.
    """
    network, tokenizer = checkpoint.network, checkpoint.tokenizer
    device = network.embedding.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    start = prompt_ids(tokenizer, prompt)
    ids = list(start)
    dtype = precision(device, width=network.config.d_model)
    state = network.initial_state(1, min(len(start) + max_tokens, network.config.context), dtype)
    with autocast(device, dtype):  # around all tokens: it narrows each weight once, and keeps it as long
        for _ in range(max_tokens):
            token = _draw(_logits(network, ids, state), temperature, top_k, generator, top_p)
            if token == tokenizer.separator:
                break
            ids.append(token)
            if on_text is not None and not on_text(_text_after(start, ids, tokenizer)):
                break
    return _text_after(start, ids, tokenizer)


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Return the separator and a prompt's tokens; raises `DataError` if it isn't text."""
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"the prompt isn't UTF-8 text, from character {error.start + 1} on: it holds other bytes, or half a "
            "surrogate pair; convert it first"
        ) from None
    return [tokenizer.separator, *tokenizer.encode([prompt])[0].tolist()]


def _text_after(start: list[int], ids: list[int], tokenizer: Tokenizer) -> str:
    return tokenizer.decode(ids[1:])[len(tokenizer.decode(start[1:])) :]


def _logits(network: Transformer, ids: list[int], state: ReadState) -> torch.Tensor:
    """Return the logits (V) of what follows `ids`, of which those in `state` aren't read again.

    A text longer than the context moves on: each token then has another place among those that are seen, the states
    of all of them are others, and they are read again.
    """
    context, device = network.config.context, network.embedding.weight.device
    if len(ids) <= context:
        return network.step(torch.tensor([ids[state.length :]], device=device), state)[0].float()
    states = network.states(torch.tensor([ids[-context:]], device=device))[0]
    return network.next_logits(states)[0].float()


def _draw(logits: torch.Tensor, temperature: float, top_k: int, generator: torch.Generator, top_p: float = 1.0) -> int:
    if temperature < COLDEST:
        return int(logits.argmax())
    best, tokens = logits.topk(min(top_k, len(logits)))
    chances = torch.softmax(best / temperature, dim=-1)
    if top_p < 1:  # the likeliest always stays: before it there is nothing
        chances = chances * (chances.cumsum(0) - chances < top_p)
    index = torch.multinomial(chances, 1, generator=generator)
    return int(tokens[index])


def samples(checkpoint: Checkpoint, *, max_tokens: int = 100, seed: int = 0) -> str:
    """Return samples from the standard prompts as one text for people; `read_samples` reads it back."""
    written = {prompt: sample(checkpoint, prompt, max_tokens=max_tokens, seed=seed) for prompt in PROMPTS}
    return format_samples(f"{max_tokens} tokens at most, temperature 0.8, top 50, seed {seed}", written)
