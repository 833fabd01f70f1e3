"""A tokenizer as `tokenizer.json`, which Hugging Face's tokenizers, and so `AutoTokenizer`, read without SentencePiece.

The same ids for every text: what SentencePiece reserves is replaced before, as `model.data.tokenizer` does, and the
names of tokens mean nothing in a text.
"""

from collections.abc import Sequence
from typing import Any

from model.data.tokenizer import SPACE, Piece, Tokenizer

Json = dict[str, Any]


def tokenizer_json(tokenizer: Tokenizer) -> Json:
    """Return the content of `tokenizer.json`; it puts a separator before every text."""
    pieces, separator = tokenizer.pieces(), tokenizer.separator
    names = [i for i, piece in enumerate(pieces) if piece.kind in ("unknown", "control")]
    before = [_replace(sign, instead) for sign, instead in tokenizer.replaced]
    after = [_replace(instead, sign) for sign, instead in reversed(tokenizer.replaced)]
    spaces = [{"type": "Prepend", "prepend": SPACE}, _replace(" ", SPACE)]
    first_space = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    text = [_replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}, first_space]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(i, pieces[i].text) for i in names],
        "normalizer": {"type": "Sequence", "normalizers": before + spaces},
        "pre_tokenizer": None,
        "post_processor": _separated(separator, pieces[separator].text),
        "decoder": {"type": "Sequence", "decoders": [*text, *after]},
        "model": _bpe(pieces) if is_bpe(pieces) else _unigram(pieces),
    }


def is_bpe(pieces: Sequence[Piece]) -> bool:
    """Return whether scores are those of SentencePiece's BPE: 0, -1, -2 … in the order of its merges."""
    return all(piece.score == -rank for rank, piece in enumerate(p for p in pieces if p.kind == "normal"))


def _unigram(pieces: Sequence[Piece]) -> Json:
    unknown = next(i for i, piece in enumerate(pieces) if piece.kind == "unknown")
    vocab = [[piece.text, piece.score] for piece in pieces]
    return {"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": True}


def _bpe(pieces: Sequence[Piece]) -> Json:
    """Return the model with its merges: every pair of tokens that make up one, in the order of that one's rank."""
    ids = {piece.text: i for i, piece in enumerate(pieces)}
    normal = {piece.text for piece in pieces if piece.kind == "normal"}
    merges: list[list[str]] = []
    for piece in sorted((p for p in pieces if p.kind == "normal"), key=lambda p: -p.score):
        halves = ((piece.text[:i], piece.text[i:]) for i in range(1, len(piece.text)))
        merges += [[a, b] for a, b in halves if a in normal and b in normal]
    unknown = next(piece.text for piece in pieces if piece.kind == "unknown")
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": ids,
        "merges": merges,
    }


def _replace(pattern: str, content: str) -> Json:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def _added(token: int, name: str) -> Json:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token, "content": name, **plain, "special": True}


def _separated(token: int, name: str) -> Json:
    special = {"SpecialToken": {"id": name, "type_id": 0}}
    first, second = ({"Sequence": {"id": letter, "type_id": 0}} for letter in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [special, first],
        "pair": [special, first, special, second],
        "special_tokens": {name: {"id": name, "ids": [token], "tokens": [name]}},
    }
