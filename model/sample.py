"""Letting a trained network write on."""

import torch

from model.checkpoint import Checkpoint
from model.device import autocast, precision

PROMPTS = ("caitlin stood on the", "jayden had a jolly good time", "in japanese culture, women are often")
"""What every confirmed network is asked to go on from."""


@torch.inference_mode()
def sample(
    checkpoint: Checkpoint,
    prompt: str,
    *,
    max_tokens: int = 100,
    temperature: float = 0.8,
    top_k: int = 50,
    seed: int = 0,
) -> str:
    """Return what follows the prompt, until the document ends or `max_tokens` are written.

    Each token is drawn among the `top_k` likeliest; a temperature of 0 takes the likeliest. Of a prompt longer
    than the context only its end is seen.
    """
    network, tokenizer = checkpoint.network, checkpoint.tokenizer
    device = network.embedding.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    start = [tokenizer.separator, *tokenizer.encode([prompt])[0].tolist()]
    ids = list(start)
    for _ in range(max_tokens):
        window = torch.tensor([ids[-network.config.context :]], device=device)
        with autocast(device, precision(device, width=network.config.d_model)):
            logits = network(window)[0, -1].float()
        token = _draw(logits, temperature, top_k, generator)
        if token == tokenizer.separator:
            break
        ids.append(token)
    whole, given = tokenizer.decode(ids[1:]), tokenizer.decode(start[1:])
    return whole[len(given) :]


def _draw(logits: torch.Tensor, temperature: float, top_k: int, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    best, places = logits.topk(min(top_k, len(logits)))
    chosen = torch.multinomial(torch.softmax(best / temperature, dim=-1), 1, generator=generator)
    return int(places[chosen])


def samples(checkpoint: Checkpoint, *, max_tokens: int = 100, seed: int = 0) -> str:
    """Return what a network makes of the standard prompts, as text for people."""
    parts = [
        f"> {prompt}\n{prompt}{sample(checkpoint, prompt, max_tokens=max_tokens, seed=seed)}\n" for prompt in PROMPTS
    ]
    return f"{max_tokens} tokens at most, temperature 0.8, top 50, seed {seed}\n\n" + "\n".join(parts)
