"""Minimal pairs: files that are read or refused, and choices counted by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from model.data.corpus import Corpus
from model.errors import DataError
from model.minimal_pairs import Choices, Pair, choose, pairs_sha256, read_pairs
from tests.model.test_sample import lively

BLIMP = {
    "sentence_good": "These casseroles disgust Kayla.",
    "sentence_bad": "These casseroles disgusts Kayla.",
    "field": "morphology",
    "linguistics_term": "subject_verb_agreement",
    "UID": "regular_plural_subject_verb_agreement_1",
    "simple_LM_method": True,
    "pairID": "0",
}
"""A row with the keys of BLiMP's own files."""


def write(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_files_folders_and_globs_name_the_same_pairs_once(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", BLIMP)
    own = write(tmp_path / "deeper" / "own.jsonl", {"sentence_good": "He is.", "sentence_bad": "He are."})
    first = Pair(BLIMP["sentence_good"], BLIMP["sentence_bad"], BLIMP["linguistics_term"], BLIMP["UID"])  # type: ignore[arg-type]
    second = Pair("He is.", "He are.", "own", "own")  # what a file doesn't name is called as the file
    assert read_pairs([str(tmp_path)]) == [first, second]
    assert read_pairs([str(tmp_path / "*.jsonl"), str(own), str(tmp_path)]) == [first, second]
    assert pairs_sha256([first]) != pairs_sha256([second])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no pair in it"),
        ('{"sentence_good": "a"}', "has no `sentence_bad`; there are: sentence_good"),
        ('{"sentence_good": "a", "sentence_bad": 3}', "`sentence_bad` is 3, but must be text"),
        ('{"sentence_good": "a", "sentence_bad": " "}', "`sentence_bad` is empty, but must be a sentence"),
        ('{"sentence_good": "a", "sentence_bad": "b", "UID": 3}', "`UID` is 3, but must be text"),
        ('{"sentence_good": "a", "sentence_bad": "\\ud800"}', "half a surrogate pair"),
        ('[{"sentence_good": "a"}]', "line 1: is list, but must be an object"),
        ('{"sentence_good": "a", ', "line 1: not JSON"),
    ],
)
def test_what_is_no_pair_is_refused_in_a_sentence(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "task.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_pairs([str(path)])
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))


def test_what_has_no_pairs_is_refused(tmp_path: Path) -> None:
    for source, message in ((tmp_path, "no .jsonl file in this folder"), (tmp_path / "x.jsonl", "no file matches")):
        with pytest.raises(DataError, match=message):
            read_pairs([str(source)])
    other = tmp_path / "a.txt"
    other.touch()
    with pytest.raises(DataError, match=r"not a \.jsonl file"):
        read_pairs([str(other)])


def test_choices_counted_by_hand() -> None:
    """Right: the first and the third; a tie is not. Means: paradigms 1/2 and 1/1, and of both 3/4."""
    pairs = [Pair("g", "b", phenomenon, paradigm) for phenomenon, paradigm in (("x", "x1"), ("x", "x1"), ("y", "y1"))]
    choices = Choices(pairs, np.array([-1.0, -2.0, -3.0]), np.array([-2.0, -2.0, -4.0]))
    assert choices.right.tolist() == [True, False, True]
    assert choices.ties == 1
    assert choices.counts(lambda pair: pair.phenomenon) == {"x": (1, 2), "y": (1, 1)}
    assert choices.paradigm_mean == 0.75


def test_a_model_prefers_what_it_finds_more_probable(corpus: Corpus) -> None:
    """Turned round, every choice is the other, but for a sentence against itself; long sentences are counted."""
    model, long = lively(corpus), "over and over " * 20
    sentences = [("the text is read", "the text are read"), ("a", "zebra of bytes"), (long, "short"), ("same", "same")]
    pairs = [Pair(good, bad, "p", "p") for good, bad in sentences]
    turned = [Pair(bad, good, "p", "p") for good, bad in sentences]
    choices = choose(model.network, model.tokenizer, pairs)
    assert choices.right[:3].tolist() == [not c for c in choose(model.network, model.tokenizer, turned).right[:3]]
    assert (choices.ties, choices.cut) == (1, 1)
