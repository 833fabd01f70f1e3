"""A trained model's scores: choices among minimal pairs, perplexity and bits per byte of any text."""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Group
from rich.table import Table
from rich.text import Text

from model.data.text_files import expanded
from model.data.tokenizer import Tokenizer
from model.data.tokens import Tokens
from model.errors import DataError
from model.evaluate import sum_nats
from model.formats.checkpoint import Checkpoint
from model.minimal_pairs import Choices, Pair, choose, pairs_sha256
from model.network.device import on_device, precision
from model.network.transformer import Transformer
from search.common.safe_text import plain_line
from search.common.stats import wilson
from search.study.scores import PairScores


@dataclass(frozen=True, kw_only=True)
class TextScore:
    """How well a model foretells a text, by the protocol of `model.evaluate`, as one document."""

    name: str
    nats: float
    """Σ nats of every token, the separator that ends the document included."""
    tokens: int
    """Tokens, the separator included."""
    text_bytes: int
    words: int
    """Words, as whitespace parts them."""

    @property
    def bpb(self) -> float:
        """Bits per raw UTF-8 byte."""
        return self.nats / (math.log(2) * self.text_bytes)

    @property
    def token_perplexity(self) -> float:
        """exp(nats per token), which only models of the same tokenizer have in common."""
        return _exp(self.nats / self.tokens)

    @property
    def word_perplexity(self) -> float:
        """exp(nats per word), which doesn't depend on the tokenizer; infinite if it is beyond a float."""
        return _exp(self.nats / max(1, self.words))

    def table(self) -> dict[str, Any]:
        """Return the score as a plain table; what is infinite is None, since JSON has no infinity."""
        figures = {"token_perplexity": self.token_perplexity, "word_perplexity": self.word_perplexity}
        finite = {key: value if math.isfinite(value) else None for key, value in figures.items()}
        counts = {"bytes": self.text_bytes, "tokens": self.tokens, "words": self.words, "nats": self.nats}
        return {"text": self.name, "bpb": self.bpb, **finite, **counts}


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def text_score(trained: Checkpoint, path: str, device: torch.device) -> TextScore:
    """Return the score of a whole file as one document, line breaks included; raises `DataError`."""
    file = expanded(path)
    try:
        text = file.read_bytes().decode("utf-8")
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start + 1}); convert the file first") from None
    if not text:
        raise DataError(f"{path}: is empty, but must have text in it")
    ids = np.append(trained.tokenizer.encode([text])[0], np.uint16(trained.tokenizer.separator))
    size = len(text.encode())
    tokens = Tokens(ids, np.array([0, len(ids)]), np.array([size]))
    dtype = precision(device, width=trained.network.config.d_model)
    with on_device(device):
        nats = sum_nats(trained.network, tokens, trained.tokenizer.separator, dtype=dtype)
    return TextScore(name=path, nats=nats, tokens=len(ids), text_bytes=size, words=len(text.split()))


def pair_scores(choices: Choices) -> PairScores:
    """Return a model's choices as counts by phenomenon."""
    phenomena = choices.counts(lambda pair: pair.phenomenon)
    return PairScores(pairs_sha256(choices.pairs), phenomena, choices.paradigm_mean)


def run_scores(network: Transformer, tokenizer: Tokenizer, pairs: Sequence[Pair], should_stop: Any) -> PairScores:
    """Return a network's scores as its run ends; raises `StoppedError` when asked to stop."""
    return pair_scores(choose(network, tokenizer, pairs, should_stop))


def as_json(path: Path, choices: Choices | None, texts: Sequence[TextScore]) -> str:
    """Return all figures as JSON."""
    table: dict[str, Any] = {"checkpoint": str(path)}
    if choices is not None:
        scores = pair_scores(choices)
        table["pairs"] = {
            "all": _counts(scores.right, scores.total),
            "paradigm_mean": choices.paradigm_mean,
            "ties": choices.ties,
            "longer_than_context": choices.cut,
            "sha256": scores.sha256,
            "phenomena": {name: _counts(*counts) for name, counts in scores.phenomena.items()},
            "paradigms": {n: _counts(*counts) for n, counts in choices.counts(lambda pair: pair.paradigm).items()},
        }
    if texts:
        table["texts"] = [text.table() for text in texts]
    return json.dumps(table, indent=2, ensure_ascii=False)


def _counts(right: int, total: int) -> dict[str, Any]:
    low, high = wilson(right, total)
    return {"accuracy": right / total, "low": low, "high": high, "right": right, "pairs": total}


def as_tables(choices: Choices | None, texts: Sequence[TextScore]) -> Group:
    """Return all figures as tables for a terminal."""
    return Group(*([] if choices is None else _pair_tables(choices)), *([_text_table(texts)] if texts else []))


def _pair_tables(choices: Choices) -> list[Any]:
    paradigms: dict[str, set[str]] = defaultdict(set)
    for pair in choices.pairs:
        paradigms[pair.phenomenon].add(pair.paradigm)
    table = Table(title="Minimal pairs", title_justify="left", pad_edge=False)
    table.add_column("phenomenon")
    for column in ("right", "95% interval", "pairs", "paradigms"):
        table.add_column(column, justify="right", no_wrap=True)
    scores = pair_scores(choices)
    for name, counts in scores.phenomena.items():
        table.add_row(Text(plain_line(name)), *_cells(*counts), str(len(paradigms[name])))
    table.add_section()
    names = {pair.paradigm for pair in choices.pairs}
    table.add_row(Text("all pairs", style="bold"), *_cells(scores.right, scores.total), str(len(names)))
    lines = [f"Mean over paradigms, each of equal weight: {choices.paradigm_mean:.2%}."]
    if choices.ties:
        lines.append(f"Ties, which count as wrong: {choices.ties}.")
    if choices.cut:
        lines.append(f"Sentences longer than the context, read in several windows: {choices.cut}.")
    return [table, *map(Text, lines)]


def _cells(right: int, total: int) -> tuple[str, str, str]:
    low, high = wilson(right, total)
    return f"{right / total:.2%}", f"{low:.1%} … {high:.1%}", f"{total:,}"


def _text_table(texts: Sequence[TextScore]) -> Table:
    table = Table(title="Texts, each as one document", title_justify="left", pad_edge=False)
    table.add_column("text")
    for column in ("BPB", "perplexity per word", "per token", "bytes", "tokens"):
        table.add_column(column, justify="right", no_wrap=True)
    for text in texts:
        perplexities = _brief(text.word_perplexity), _brief(text.token_perplexity)
        name = Text(plain_line(text.name))
        table.add_row(name, f"{text.bpb:.4f}", *perplexities, f"{text.text_bytes:,}", f"{text.tokens:,}")
    return table


def _brief(perplexity: float) -> str:
    return f"{perplexity:,.2f}" if perplexity < 1e6 else f"{perplexity:.3g}"
