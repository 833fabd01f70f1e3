"""Which of transformers' architectures a network is, and that its folder comes back as it was; without transformers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from model.data.corpus import Corpus
from model.formats.checkpoint import Checkpoint
from model.formats.gguf_file import refusal
from model.formats.load import load, write_folder
from model.formats.safetensors_folder import CODE, files_of
from model.formats.transformers_layout import model_type, only_ours
from tests.model.formats.lively import lively

NATIVE: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"mlp": "swiglu"}),
    "llama, grouped, untied": ("llama", {"mlp": "swiglu", "attention": "grouped", "n_kv_head": 2, "tied": False}),
    "mistral": ("mistral", {"mlp": "swiglu", "window": 5, "attention": "grouped", "n_kv_head": 2}),
    "qwen3": ("qwen3", {"mlp": "swiglu", "qk_norm": True, "mlp_ratio": 3.0}),
    "qwen3, window": ("qwen3", {"mlp": "swiglu", "qk_norm": True, "window": 6}),
    "arcee, gelu": ("arcee", {"rope_base": 500.0}),
    "arcee, relu2, further heads": ("arcee", {"mlp": "relu2", "attention": "grouped", "mtp_heads": 2}),
}
WITH_CODE: dict[str, tuple[str, dict[str, Any]]] = {
    "latent": ("lilm", {"attention": "latent", "projection_dim": 12}),
    "alibi": ("lilm", {"positions": "alibi"}),
    "alibi, window, grouped": ("lilm", {"positions": "alibi", "window": 7, "attention": "grouped", "n_kv_head": 2}),
    "window, gelu": ("lilm", {"window": 5}),
    "qk_norm, relu2, untied": ("lilm", {"qk_norm": True, "mlp": "relu2", "tied": False}),
    "softcap": ("lilm", {"logit_softcap": 3.0, "mlp": "swiglu"}),
    "latent, window, qk_norm, softcap, further head": (
        "lilm",
        {
            "attention": "latent",
            "projection_dim": 12,
            "window": 6,
            "mlp": "swiglu",
            "qk_norm": True,
            "logit_softcap": 5.0,
            "tied": False,
            "mtp_heads": 1,
        },
    ),
}
MENU = NATIVE | WITH_CODE
OURS_ALONE: dict[str, dict[str, Any]] = {
    "global blocks": {"mlp": "swiglu", "window": 5, "global_every": 2},
    "shared keys": {"mlp": "swiglu", "kv_blocks": 2},
    "tracks": {"mlp": "swiglu", "tracks": 2},
    "value residual": {"mlp": "swiglu", "value_residual": True},
    "embedding shortcut": {"mlp": "swiglu", "embedding_shortcut": True},
    "embedding norm": {"mlp": "swiglu", "embedding_norm": True},
    "document mask": {"mlp": "swiglu", "document_mask": True},
    "moving averages": {"mlp": "swiglu", "mixer": "megalodon", "ema_dim": 4},
}


@pytest.mark.parametrize(("kind", "options"), MENU.values(), ids=MENU)
def test_a_folder_of_a_known_architecture_comes_back_bit_for_bit(
    corpus: Corpus, tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    model = lively(corpus, options)
    files = files_of(model)
    assert (model_type(model.network.config), CODE in files) == (kind, kind == "lilm")
    assert json.loads(files["config.json"])["model_type"] == kind
    check_round_trip(model, files, tmp_path)


@pytest.mark.parametrize("options", OURS_ALONE.values(), ids=OURS_ALONE)
def test_other_networks_are_written_for_this_project_alone(
    corpus: Corpus, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = lively(corpus, options)
    files = files_of(model)
    assert model_type(model.network.config) is None
    assert json.loads(files["config.json"])["architectures"] == ["LilmTransformer"]
    assert only_ours(model.network.config) == refusal(model.network.config)
    check_round_trip(model, files, tmp_path)


def check_round_trip(model: Checkpoint, files: dict[str, bytes], place: Path) -> None:
    write_folder(place / "folder", files)
    again = load(place / "folder", torch.device("cpu"))
    assert again.network.config == model.network.config
    before, after = model.network.state_dict(), again.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
