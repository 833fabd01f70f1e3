"""The page of exported networks: it leaves no option out, and is what writing files really does."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from docs.generate import exported
from docs.generate.exported import PLAIN, combinations, idea_options, places, plain_options, written
from model.config import ModelConfig
from model.data.corpus import Corpus
from model.errors import CheckpointError
from model.formats import gguf_file
from model.formats.safetensors_folder import files_of
from model.formats.transformers_layout import CODE
from model.options.plain import PlainConfig
from tests.model.formats.lively import lively

SIZES = {"n_layer", "n_head", "head_dim", "mlp_ratio", "context", "n_kv_head", "projection_dim"}
ROWS: dict[str, dict[str, Any]] = {written(o): o for o in (*plain_options(), *combinations(), *idea_options().values())}
BY_HAND = {
    "none": ("Llama", "llama", "yes"),
    "`qk_norm = true`": ("Qwen3", "qwen3", "yes"),
    "`window = 128`": ("Mistral", "refused: window = 128 would be the whole context there", "yes"),
    "`zero_init = true`": ("Llama", "llama", "yes"),
    '`linear = "ternary"`': (
        "with code",
        'refused: linear = "ternary" has no architecture there',
        "yes",
    ),
    "`segment = 256`": (
        "with code",
        "refused: segment = 256 has no architecture there",
        "refused: segment = 256 makes steps differ by their place in a segment, which a graph can't",
    ),
}


def test_every_option_of_the_plain_transformer_but_sizes_is_a_row() -> None:
    named = {key for options in plain_options() for key in options}
    assert named == {f.name for f in fields(PlainConfig)} - SIZES


def test_every_switch_of_every_other_option_is_a_row() -> None:
    """One that is off by default; those beside it are its details."""
    plain, named = {f.name for f in fields(PlainConfig)}, {key for options in ROWS.values() for key in options}
    off = {f.name for f in fields(ModelConfig) if f.name not in plain and f.default in (0, False, "dense", "attention")}
    details = {"attention_every", "shared_experts", "expert_balance_loss"}
    assert off - named <= details
    assert {"kv_blocks", "linear", "mixer", "experts", "segment"} <= named


@pytest.mark.parametrize(("setting", "expected"), BY_HAND.items(), ids=BY_HAND)
def test_rows_worked_by_hand(setting: str, expected: tuple[str, str, str]) -> None:
    assert places(ROWS[setting]) == expected


@pytest.mark.parametrize("options", ROWS.values(), ids=ROWS)
def test_a_row_is_what_writing_does(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    there, llama_cpp, _ = places(options)
    model = lively(corpus, {**PLAIN, **options}, context=256)
    files = files_of(model)
    assert (CODE in files) == (there == "with code")
    monkeypatch.setattr(gguf_file, "_package", lambda: None)  # which isn't needed to refuse
    if llama_cpp.startswith("refused: "):
        with pytest.raises(CheckpointError) as refused:
            gguf_file.check(tmp_path / "a.gguf", model.network.config)
        assert llama_cpp.removeprefix("refused: ") in str(refused.value)
    else:
        gguf_file.check(tmp_path / "a.gguf", model.network.config)
        assert llama_cpp in gguf_file.ARCHITECTURES


def test_the_page_has_every_row() -> None:
    page = exported.exported_page()
    assert all(f"| {setting} | {' | '.join(places(options))} |" in page for setting, options in ROWS.items())
