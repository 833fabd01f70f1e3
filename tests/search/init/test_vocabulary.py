"""No vocabulary is offered that `start` could not train."""

import random
import re
from pathlib import Path

import pytest

from model.config import DataConfig, ModelConfig, TokenizerConfig
from model.data.corpus import text_sha256, tokenizer_bytes
from model.errors import DataError
from search.init.inspect_text import Text, inspect
from search.init.sizing import Size
from search.init.vocabulary import fit_vocabularies
from search.machine.hardware import Hardware

CPU = Hardware(kind="cpu", name="a processor", threads=1, reference_tokens_per_second=20_000)
WORDS = re.findall(r"\w+", "the quick brown fox jumps over lazy dogs and cats sleeping under tall trees by a river")
GPU = Hardware(kind="cuda", name="a GPU", memory_gib=24, reference_tokens_per_second=600_000)


def fit(file: Path, machine: Hardware = CPU) -> tuple[Text, Size]:
    def speed(network: ModelConfig, vocab: int) -> float:
        return 10_000.0

    return fit_vocabularies(inspect(str(file), None, None), machine, 2**34, None, speed)


def train_all(text: Text, size: Size, cache: Path) -> None:
    """Train each tokenizer as `start` does."""
    period, held = size.holdout
    data = DataConfig(
        source=text.source,
        holdout_period=period,
        holdout_rows=held,
        rows_per_document=text.rows_per_document,
        max_row_bytes=text.max_row_bytes,
    )
    sha = text_sha256(data, cache)
    for vocab in (*size.vocabularies, size.vocab_size):
        tokenizer_bytes(sha, TokenizerConfig(kind=size.tokenizer, vocab_size=vocab), cache)


def test_characters_beyond_the_first_rows_raise_the_smallest(tmp_path: Path) -> None:
    file, draw = tmp_path / "a.txt", random.Random(1)
    scripts = ["".join(map(chr, draw.choices(range(0x4E00, 0x4E00 + 300), k=40))) for _ in range(2000)]
    plain = [" ".join(draw.choices(WORDS[:10], k=9))] * 1000
    file.write_text("\n".join([*plain, *scripts, *plain]), encoding="utf-8")
    text, found = fit(file)
    assert min(found.vocabularies) % 64 == 0
    assert min(found.vocabularies) > 320
    assert found.vocab_size in found.vocabularies
    train_all(text, found, tmp_path)


@pytest.mark.parametrize("machine", [CPU, GPU])
def test_few_different_words_lower_the_largest(tmp_path: Path, machine: Hardware) -> None:
    file, draw = tmp_path / "a.txt", random.Random(1)
    file.write_text("".join(" ".join(draw.choices(WORDS, k=12)) + "\n" for _ in range(8000)))
    text, found = fit(file, machine)
    assert 320 <= max(found.vocabularies) < 512
    train_all(text, found, tmp_path)


def test_what_allows_no_vocabulary_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a b c\n" * 5000)
    with pytest.raises(DataError, match="but a vocabulary has at least 320; give more text"):
        fit(file)
    file.write_text("a single line, too short to be cut")
    with pytest.raises(DataError, match="holds one row of text, but needs two or more"):
        fit(file)


def test_a_text_of_one_long_row_is_cut_into_pieces(tmp_path: Path) -> None:
    draw, file = random.Random(3), tmp_path / "a.txt"
    file.write_text(" ".join(draw.choices(WORDS, k=40_000)))
    text, found = fit(file)
    assert text.max_row_bytes == 2500
    assert text.rows_per_document == 1
    assert text.rows == pytest.approx(file.stat().st_size / 2500)
    train_all(text, found, tmp_path)
    file.write_text(" ".join(draw.choices(WORDS, k=4000)))
    text, _ = fit(file)
    assert text.max_row_bytes is not None
    assert 40 <= file.stat().st_size / text.max_row_bytes <= 45
