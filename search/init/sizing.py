"""A study's size, from how fast this machine is and how much text there is: budgets, networks, what is held out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from model.config import ModelConfig
from model.network.flops import count_parameters, flops_per_token
from model.training.reference_step import ON_CPU, ON_GPU
from search.common.durations import parse_duration
from search.common.errors import SearchError
from search.init.inspect_text import Text
from search.machine.hardware import Machine

BYTES_PER_TOKEN = 3.0
"""About, of a small vocabulary on prose."""
BYTES_PER_PARAMETER = 16
"""Weight, gradient and AdamW's two moments, in float32."""
LONGER = 5
"""Times the proxy's budget that a confirmation run has."""

GPU_TOKENS_PER_PARAM, CPU_TOKENS_PER_PARAM = 70.0, 20.0
"""What the hand-made network is to get in a confirmation run: the recipe's rule of thumb, and Chinchilla's."""

Step = tuple[ModelConfig, int]
"""A network and its vocabulary."""

# Width, layers and vocabulary of networks that people make by hand, each larger than the one before.
LADDER = (
    *((32, 1, 512), (32, 2, 1024), (64, 2, 1024), (64, 3, 2048), (128, 3, 2048), (128, 4, 4096), (192, 6, 4096)),
    *((256, 8, 4096), (256, 12, 6144), (384, 12, 6144), (512, 12, 8192), (512, 16, 8192), (768, 16, 12288)),
    *((1024, 20, 16384), (1536, 24, 16384)),
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a study of this text on this machine is given."""

    budget: str
    confirm: str
    trials: int
    tokenizer: str
    """Its kind."""
    by_hand: ModelConfig
    vocab_size: int
    batch_size: int
    tokens_per_param: float
    """Of the hand-made network within a confirmation run: what the ladder was climbed for."""
    tokens_per_second: float
    """Of that network, measured in a few steps."""
    layers: tuple[int, int]
    heads: tuple[int, int]
    head_dims: tuple[int, ...]
    vocabularies: tuple[int, ...]
    batches: tuple[int, ...]
    most_parameters: int
    """Of the largest network in the space."""
    passes: float | None
    """Over the text, of one confirmation run; None where its size is unknown."""
    hours: float
    """Of one worker, for all runs, less what pruning saves."""
    holdout: tuple[int, int]
    """Of every so many rows, so many are held out."""
    validation_bytes: float | None


Speed = Callable[[ModelConfig, int], float]
"""Tokens a second of a network with a vocabulary, on one worker; 0 where it doesn't fit into memory."""


def size(text: Text, machine: Machine, memory_bytes: float, budget: str | None, speed_of: Speed) -> Size:
    """Return the study's size; raises `SearchError` for a budget that is none."""
    gpu = machine.kind == "cuda"
    budget = budget or ("6m" if gpu else "1m")
    confirm = longer(budget)
    wanted = GPU_TOKENS_PER_PARAM if gpu else CPU_TOKENS_PER_PARAM
    vocabulary = _vocabulary(text)
    seconds = parse_duration(confirm)
    steps = [(m, vocabulary(v)) for m, v in _ladder(512 if gpu else 128)]
    fitting = [s for s in steps if _fits(*s, memory_bytes)] or steps[:1]
    (by_hand, vocab), speed = climb(fitting, _guess(fitting, machine, wanted, seconds), wanted, seconds, speed_of)
    dims = _head_dims(by_hand.head_dim)
    layers, heads = _ranges(by_hand, dims[-1], vocab, memory_bytes)
    largest = replace(by_hand, n_layer=layers[1], n_head=heads[1], head_dim=dims[-1])
    trials, runs = (100, 14) if gpu else (32, 12)
    held, validation = holdout(text, gpu)
    return Size(
        budget=budget,
        confirm=confirm,
        trials=trials,
        tokenizer="unigram" if gpu else "bpe",
        by_hand=by_hand,
        vocab_size=vocab,
        batch_size=64 if gpu else 16,
        tokens_per_param=speed * seconds / count_parameters(by_hand, vocab),
        tokens_per_second=speed,
        layers=layers,
        heads=heads,
        head_dims=dims,
        vocabularies=tuple(sorted({vocabulary(vocab // 2), vocab, vocabulary(vocab * 2)})),
        batches=(16, 32, 64, 128, 256) if gpu else (4, 8, 16, 32),
        most_parameters=count_parameters(largest, vocabulary(2 * vocab)),
        passes=speed * seconds * BYTES_PER_TOKEN / text.total_bytes if text.total_bytes else None,
        hours=(trials * parse_duration(budget) + runs * seconds) / 3600,
        holdout=held,
        validation_bytes=validation,
    )


def longer(budget: str) -> str:
    """Return a confirmation run's budget for a proxy's; raises `SearchError`."""
    try:
        seconds = LONGER * parse_duration(budget)
    except ValueError as error:
        raise SearchError(f"--budget: {error}") from None
    minutes = seconds / 60
    return f"{minutes:g}m" if minutes >= 1 and minutes == round(minutes) else f"{seconds:g}s"


def _ladder(context: int) -> list[Step]:
    """Return the networks with heads of 16 to 64, two at least."""
    found = []
    for width, n_layer, vocab in LADDER:
        head_dim = next(d for d in (64, 32, 16) if width // d >= (4 if width >= 256 else 2))
        found.append(
            (ModelConfig(n_layer=n_layer, n_head=width // head_dim, head_dim=head_dim, context=context), vocab)
        )
    return found


def _vocabulary(text: Text) -> Callable[[int], int]:
    """Return what brings a number of tokens within what the text's characters need and its size allows."""
    least, total = text.least_vocabulary, text.total_bytes
    most = text.most_vocabulary if total is None else max(least, int(total / 400) // 64 * 64)
    return lambda wanted: min(max(wanted, least), most, text.most_vocabulary)


def _guess(steps: Sequence[Step], machine: Machine, wanted: float, seconds: float) -> int:
    """Return the highest step that reaches the tokens per parameter, were operations as fast as in the reference."""
    reference = ON_GPU if machine.kind == "cuda" else ON_CPU
    operations = machine.reference_tokens_per_second * flops_per_token(reference.network, reference.vocab_size)
    reached = [
        i for i, s in enumerate(steps) if operations / flops_per_token(*s) * seconds >= wanted * count_parameters(*s)
    ]
    return max(reached, default=0)


def climb(steps: Sequence[Step], start: int, wanted: float, seconds: float, speed_of: Speed) -> tuple[Step, float]:
    """Return the highest step that reaches the wanted tokens per parameter as measured, and its tokens a second.

    From where a guess says, up while the next one reaches them too, or down until one does.
    """
    here, speed = start, speed_of(*steps[start])
    if speed * seconds < wanted * count_parameters(*steps[here]):
        while here > 0 and speed * seconds < wanted * count_parameters(*steps[here]):
            here -= 1
            speed = speed_of(*steps[here])
        return steps[here], speed
    while here + 1 < len(steps):
        faster = speed_of(*steps[here + 1])
        if faster * seconds < wanted * count_parameters(*steps[here + 1]):
            break
        here, speed = here + 1, faster
    return steps[here], speed


def _fits(model: ModelConfig, vocab: int, memory_bytes: float) -> bool:
    """Return whether half of the memory holds its weights and moments; the other half is for activations."""
    return count_parameters(model, vocab) * BYTES_PER_PARAMETER <= memory_bytes / 2


def _head_dims(by_hand: int) -> tuple[int, ...]:
    """Return the widths of a head to search: the hand-made one's, and half of it where that isn't too narrow."""
    return (16, 32) if by_hand == 16 else (by_hand // 2, by_hand)


def _ranges(
    by_hand: ModelConfig, head_dim: int, vocab: int, memory_bytes: float
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return layers and heads to search: half to twice the hand-made network's, as far as memory allows."""
    layers, heads = 2 * by_hand.n_layer, 2 * by_hand.n_head
    least_layers, least_heads = max(1, by_hand.n_layer // 2), max(1, by_hand.n_head // 2)
    while not _fits(replace(by_hand, n_layer=layers, n_head=heads, head_dim=head_dim), 2 * vocab, memory_bytes):
        if (layers, heads) == (least_layers + 1, least_heads + 1):
            break
        layers, heads = max(least_layers + 1, layers - 1), max(least_heads + 1, heads - 1)
    return (least_layers, layers), (least_heads, heads)


def holdout(text: Text, gpu: bool) -> tuple[tuple[int, int], float | None]:
    """Hold out about 1%, of a small text up to a tenth, in whole documents; and say how many bytes that is."""
    wanted = 4e6 if gpu else 5e5
    total, group = text.total_bytes, text.rows_per_document
    share = 0.01 if total is None else min(0.1, wanted / total)
    rows = group if group > 1 else 1
    period = max(2 * rows, round(rows / share / 10) * 10)
    if text.rows is not None:
        period = min(period, max(2 * rows, int(text.rows // 2)))
        while rows > 1 and period * 4 > text.rows:  # a text of few rows: shorter stretches, more of them
            rows, period = rows // 2, max(2 * (rows // 2), period // 2)
    return (period, rows), None if total is None else total * rows / period
