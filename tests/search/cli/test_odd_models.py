"""What commands say of prompts and models that are not what they should be: one sentence, whatever the command."""

from pathlib import Path

import pytest

from model.data.corpus import Corpus
from model.formats import checkpoint, zip_bundle
from model.formats.safetensors_folder import files_of
from search.common.exit_codes import REFUSED
from tests.model.test_sample import lively
from tests.search.conftest import Typed

COMMANDS = {"sample": (), "score": ("--text",), "serve": ("--port", "0"), "evaluate": ("--data", "builtin")}


@pytest.fixture(scope="module")
def saved(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, path = lively(corpus), tmp_path_factory.mktemp("model") / "best.pt"
    checkpoint.save(path, model.network, model.tokenizer, {})
    return path


@pytest.fixture(scope="module")
def bundle(corpus: Corpus, saved: Path) -> Path:
    zip_bundle.pack(saved.with_name("best.zip"), files_of(lively(corpus)))
    return saved.with_name("best.zip")


def test_a_prompt_beyond_the_context_is_noted_and_its_end_counts(saved: Path, typed: Typed) -> None:
    """The model sees 24 tokens."""
    command = ("sample", "--checkpoint", str(saved), "--tokens", "3", "--temperature", "0", "--prompt")
    code, long, err = typed(*command, "x" + "the " * 60)
    assert (code, err.count("\n")) == (0, 1)
    assert "and the model sees 24 back: only its end counts" in err
    code, other, _ = typed(*command, "y" + "the " * 60)
    assert (code, other[1:]) == (0, long[1:])
    assert typed(*command, "the ")[2] == ""


def test_an_empty_prompt_begins_a_document(saved: Path, typed: Typed) -> None:
    code, out, err = typed("sample", "--checkpoint", str(saved), "--prompt", "", "--tokens", "3")
    assert (code, err) == (0, "")
    assert out.strip()


def test_a_prompt_that_is_no_text_is_refused_in_a_line(saved: Path, typed: Typed) -> None:
    prompt = b"caf\xe9".decode(errors="surrogateescape")  # as Python reads such an argument
    code, out, err = typed("sample", "--checkpoint", str(saved), "--prompt", prompt)
    assert (code, out, err.count("\n")) == (REFUSED, "", 1)
    assert err.startswith("error: the prompt isn't UTF-8 text, from character 4 on")


@pytest.mark.parametrize("command", COMMANDS)
def test_half_a_download_and_a_changed_bundle_are_refused_in_a_line(
    bundle: Path, tmp_path: Path, typed: Typed, command: str
) -> None:
    whole, text = bundle.read_bytes(), tmp_path / "text.txt"
    text.write_text("a text")
    changed = bytearray(whole)
    changed[whole.index(b'"d') + 1] ^= 1  # in config.json, whose CRC no longer fits
    options = [*COMMANDS[command], *([str(text)] if command == "score" else [])]
    for content, said in ((whole[: len(whole) // 2], "cut off"), (bytes(changed), "damaged")):
        (tmp_path / "best.zip").write_bytes(content)
        code, out, err = typed(command, "--checkpoint", str(tmp_path / "best.zip"), *options)
        assert (code, out, err.count("\n")) == (REFUSED, "", 1)
        assert err.startswith(f"error: {tmp_path / 'best.zip'}: {said}: ")
