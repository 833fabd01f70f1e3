"""A study's size, from this machine's speed and the amount of text: budgets, networks, text held out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from model.config import ModelConfig
from model.network.flops import count_parameters, flops_per_token
from model.training.reference_step import ON_CPU, ON_GPU
from search.common.durations import parse_duration
from search.common.errors import SearchError
from search.init.inspect_text import Text
from search.machine.hardware import Hardware

BYTES_PER_TOKEN = 3.0
"""Approximate bytes per token of a small vocabulary on prose."""
BYTES_PER_PARAMETER = 16
"""Bytes of a parameter's weight, gradient and two moments of AdamW, in float32."""
LONGER = 5
"""Ratio of a confirmation run's budget to a proxy's."""

GPU_TOKENS_PER_PARAM, CPU_TOKENS_PER_PARAM = 70.0, 20.0
"""Tokens per parameter of the hand-made network in a confirmation run: the recipe's rule of thumb, and Chinchilla's."""

Step = tuple[ModelConfig, int]
"""A network and its vocabulary."""

# Width, layers and vocabulary of usual hand-made networks, each larger than the one before.
LADDER = (
    *((32, 1, 512), (32, 2, 1024), (64, 2, 1024), (64, 3, 2048), (128, 3, 2048), (128, 4, 4096), (192, 6, 4096)),
    *((256, 8, 4096), (256, 12, 6144), (384, 12, 6144), (512, 12, 8192), (512, 16, 8192), (768, 16, 12288)),
    *((1024, 20, 16384), (1536, 24, 16384)),
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """Budgets, networks and held-out text of a study of one text on one machine."""

    budget: str
    confirm: str
    trials: int
    tokenizer: str
    """Kind of the tokenizer."""
    by_hand: ModelConfig
    vocab_size: int
    batch_size: int
    tokens_per_param: float
    """Tokens per parameter of the hand-made network in a confirmation run."""
    tokens_per_second: float
    """Throughput of that network, measured in a few steps."""
    layers: tuple[int, int]
    heads: tuple[int, int]
    head_dims: tuple[int, ...]
    vocabularies: tuple[int, ...]
    batches: tuple[int, ...]
    most_parameters: int
    """Parameters of the largest network in the space."""
    passes: float | None
    """Passes of a confirmation run over the text; None if its size is unknown."""
    hours: float
    """Hours of one worker for all runs, without what pruning saves."""
    holdout: tuple[int, int]
    """Length of a period in rows, and the rows held out of each."""
    validation_bytes: float | None


Speed = Callable[[ModelConfig, int], float]
"""Tokens per second of a network with a vocabulary, on one worker; 0 if it doesn't fit into memory."""


def size(text: Text, machine: Hardware, memory_bytes: float, budget: str | None, speed_of: Speed) -> Size:
    """Return the study's size; raises `SearchError` if the budget isn't a duration."""
    gpu = machine.kind == "cuda"
    budget = budget or default_budget(machine.kind)
    confirm = confirm_budget(budget)
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


def default_budget(kind: str) -> str:
    """Return a proxy's budget on this kind of device, if none is given."""
    return "6m" if kind == "cuda" else "1m"


def confirm_budget(budget: str) -> str:
    """Return the budget of a confirmation run for a proxy's; raises `SearchError` if that isn't a duration."""
    try:
        seconds = LONGER * parse_duration(budget)
    except ValueError as error:
        raise SearchError(f"--budget: {error}") from None
    minutes = seconds / 60
    return f"{minutes:g}m" if minutes >= 1 and minutes == round(minutes) else f"{seconds:g}s"


def _ladder(context: int) -> list[Step]:
    """Return the networks of the ladder, with two heads or more, of 16 to 64 dimensions."""
    steps = []
    for width, n_layer, vocab in LADDER:
        head_dim = next(d for d in (64, 32, 16) if width // d >= (4 if width >= 256 else 2))
        steps.append(
            (ModelConfig(n_layer=n_layer, n_head=width // head_dim, head_dim=head_dim, context=context), vocab)
        )
    return steps


def _vocabulary(text: Text) -> Callable[[int], int]:
    """Return a function that limits a vocabulary to the sizes that the text allows."""
    least, total = text.least_vocabulary, text.total_bytes
    most = text.most_vocabulary if total is None else max(least, int(total / 400) // 64 * 64)
    return lambda wanted: min(max(wanted, least), most, text.most_vocabulary)


def _guess(steps: Sequence[Step], machine: Hardware, wanted: float, seconds: float) -> int:
    """Return the highest step that reaches the tokens per parameter at the reference step's operations per second."""
    reference = ON_GPU if machine.kind == "cuda" else ON_CPU
    operations = machine.reference_tokens_per_second * flops_per_token(reference.network, reference.vocab_size)
    reached = [
        i for i, s in enumerate(steps) if operations / flops_per_token(*s) * seconds >= wanted * count_parameters(*s)
    ]
    return max(reached, default=0)


def climb(steps: Sequence[Step], start: int, wanted: float, seconds: float, speed_of: Speed) -> tuple[Step, float]:
    """Return the highest step that reaches the wanted tokens per parameter when measured, and its tokens per second.

    Starts at a guess; goes up while the next step reaches them too, or down until one does.
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
    """Return the widths of a head to search: the hand-made one's, and half of it if that isn't too narrow."""
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
    """Return which rows to hold out, and their bytes: about 1%, up to a tenth of a small text, in whole documents."""
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
