"""What SentencePiece keeps for itself: no text is lost or unlearned for it; earlier tokenizers go on as they were."""

import functools
import io
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.config import TokenizerConfig
from model.data.sources import builtin_prose
from model.data.tokenizer import ESCAPE, RESERVED, Tokenizer, escape, train_tokenizer, unescape
from model.errors import DataError
from tests.conftest import SHARED_TEXT

KINDS = pytest.mark.parametrize("kind", ["unigram", "bpe"])
NAMES = ["<unk>", "<s>", "</s>", "<0x41>"]
DNA = ["".join(random.Random(seed).choices("ACGT", k=2100)) + "\n" for seed in range(25)]
MIXED = st.lists(
    st.one_of(
        st.sampled_from(
            [*RESERVED, *NAMES, ESCAPE, f"{ESCAPE}1", "\0", "\x1f", "\t", " ", "\n", "<", "0x", "🙂", "\U000f0000"]
        ),
        st.text(st.sampled_from("ACGT"), max_size=9),
        st.sampled_from(["thereisnospace", "in", "x" * 40]),
        st.characters(codec="utf-8"),
    ),
    max_size=12,
).map("".join)


@functools.cache
def lines() -> list[str]:
    """Lines of prose; read when a test asks for them, since each process that collects tests imports this file."""
    return [line for text in builtin_prose()[:400] for line in text.splitlines(keepends=True)]


def as_before(sample: Sequence[str], kind: str, vocab_size: int) -> bytes:
    """Train as commit 1c68674 did."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([s.replace("\ue000", "\ue0000").replace("\u2581", "\ue0001") for s in sample]),
        model_writer=out,
        model_type=kind,
        vocab_size=vocab_size,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        byte_fallback=True,
        character_coverage=0.9995,
        max_sentence_length=1 << 20,
        num_threads=8,
        minloglevel=3,
    )
    return out.getvalue()


def pieces(proto: bytes) -> list[tuple[str, float]]:
    model = sentencepiece.SentencePieceProcessor(model_proto=proto)
    return [(model.id_to_piece(i), model.get_score(i)) for i in range(model.get_piece_size())]


def tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> int:
    return sum(map(len, tokenizer.encode(texts)))


@pytest.fixture(scope="module", params=[("unigram", "prose"), ("bpe", "prose"), ("unigram", "dna"), ("bpe", "dna")])
def trained(request: pytest.FixtureRequest) -> Tokenizer:
    kind, text = request.param
    return Tokenizer(
        train_tokenizer(lines()[:900] if text == "prose" else DNA, TokenizerConfig(kind=kind, vocab_size=400))
    )


@settings(deadline=None)
@given(text=MIXED)
@example(text="ACGTACGT")
@example(text=" ▁ ▅ <unk> <s></s> <0x41> <0x")
@example(text=f"{ESCAPE}{ESCAPE}12<<unk>>")
def test_nothing_is_lost_of_what_is_reserved(trained: Tokenizer, text: str) -> None:
    assert trained.decode(trained.encode([text])[0]) == text


@settings(deadline=None)
@given(a=MIXED, b=MIXED)
def test_escapes_of_reserved_names_are_reversible_and_distinct(a: str, b: str) -> None:
    assert unescape(escape(a)) == a
    assert not any(sign in escape(a) for sign in RESERVED)
    assert (escape(a) == escape(b)) == (a == b)


def test_every_character_comes_back(trained: Tokenizer) -> None:
    """Every code point that is one, between letters: whatever the library comes to reserve is noticed here."""
    characters = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    texts = ["a".join(characters[i : i + 2048]) for i in range(0, len(characters), 2048)]
    assert all(trained.decode(ids) == text for text, ids in zip(texts, trained.encode(texts), strict=True))


@KINDS
@pytest.mark.parametrize("text", ["dna", "prose"])
def test_text_with_hardly_any_spaces_can_be_trained_on(kind: str, text: str) -> None:
    """A space is rarer than the characters that are covered; each text begins with one all the same."""
    letters = "".join(c for c in "".join(lines()).lower() if "a" <= c <= "z")
    sample = DNA if text == "dna" else [letters[i : i + 5000] + "\n" for i in range(0, 100_000, 5000)]
    tokenizer = Tokenizer(train_tokenizer(sample, TokenizerConfig(kind=kind, vocab_size=400)))
    assert [tokenizer.decode(ids) for ids in tokenizer.encode(sample)] == sample
    assert tokens(tokenizer, sample) < sum(map(len, sample)) / 1.5


@KINDS
@pytest.mark.parametrize("sign", ["▅", "▁", "<unk>", "</s>", "<0x41>"])
def test_lines_that_hold_what_is_reserved_teach_as_much_as_others(kind: str, sign: str) -> None:
    """As much as lines with a neighbour of the sign, of which the library keeps nothing."""
    config, like = TokenizerConfig(kind=kind, vocab_size=450), "▆41>" if "41" in sign else "▆"
    samples = [[f"{line[:-1].replace(' ', f' {s} ', 1)} {s} next\n" for line in lines()[:900]] for s in (sign, like)]
    amounts = [tokens(Tokenizer(train_tokenizer(sample, config)), sample) for sample in samples]
    assert amounts[0] < 1.03 * amounts[1]


def test_too_little_text_for_any_vocabulary_is_not_told_to_take_a_smaller_one() -> None:
    with pytest.raises(DataError, match=r"enough for \d+, fewer than any vocabulary has; give more text"):
        train_tokenizer(["a b c\n"] * 50, TokenizerConfig(vocab_size=400))


@KINDS
def test_ordinary_prose_gives_the_pieces_it_gave_before(kind: str) -> None:
    now = train_tokenizer(lines(), TokenizerConfig(kind=kind, vocab_size=1024))
    before = as_before(lines(), kind, 1024)
    assert pieces(now) == pieces(before)
    old, new = Tokenizer(before), Tokenizer(now)
    assert all((a == b).all() for a, b in zip(old.encode(lines()[:500]), new.encode(lines()[:500]), strict=True))


@pytest.mark.skipif(not (SHARED_TEXT / "tinystories.parquet").exists(), reason="the shared real text is not here")
@pytest.mark.parametrize(("file", "column"), [("tinystories", "story"), ("babylm_mix", "text")])
def test_real_prose_gives_the_pieces_it_gave_before(file: str, column: str) -> None:
    rows = next(pq.ParquetFile(SHARED_TEXT / f"{file}.parquet").iter_batches(20_000, columns=[column]))
    sample = [line for row in rows.column(0).to_pylist() for line in row.splitlines(keepends=True)][:20_000]
    now = train_tokenizer(sample, TokenizerConfig(kind="bpe", vocab_size=2048))
    assert pieces(now) == pieces(as_before(sample, "bpe", 2048))


@KINDS
def test_a_tokenizer_of_before_encodes_as_before(kind: str) -> None:
    """An export's figures hold: the network has never seen what stands for signs that weren't escaped then."""
    proto = as_before(lines(), kind, 600)
    old, model = Tokenizer(proto), sentencepiece.SentencePieceProcessor(model_proto=proto)
    for text in ("a ▅ and <unk> </s>", "<0x41>", "plain", "\ue000 ▁"):
        assert old.encode([text])[0].tolist() == model.encode(text.replace("\ue000", "\ue0000").replace("▁", "\ue0001"))
        assert old.decode(old.encode([text])[0]) == text
    assert list(old.replaced) == [("\ue000", "\ue0000"), ("▁", "\ue0001")]


def test_what_stands_for_the_reserved_is_listed_for_others(tmp_path: Path) -> None:
    """Whoever loads the tokenizer elsewhere replaces in this order, and back in the opposite one."""
    tokenizer = Tokenizer(train_tokenizer(lines()[:900], TokenizerConfig(kind="bpe", vocab_size=400)))
    text = "▁ ▅ <unk> \ue000 </s> <0x0A>"

    def replaced(text: str, pairs: Iterator[tuple[str, str]]) -> str:
        for old, new in pairs:
            text = text.replace(old, new)
        return text

    pairs = tokenizer.replaced
    model = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.proto)
    ids = model.encode(replaced(text, iter(pairs)))
    assert ids == tokenizer.encode([text])[0].tolist()
    assert replaced(model.decode(ids), ((new, old) for old, new in reversed(pairs))) == text
