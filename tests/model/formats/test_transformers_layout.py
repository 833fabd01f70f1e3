"""Which of transformers' architectures a network is, and that its folder comes back as it was; without transformers."""

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from model.data.corpus import Corpus
from model.formats.checkpoint import Checkpoint, stored_weights
from model.formats.gguf_file import refusal
from model.formats.load import load, write_folder
from model.formats.one_file import one_file
from model.formats.safetensors_folder import FORMAT, WEIGHTS, files_of
from model.formats.transformers_layout import CODE, model_type, no_architecture, renamed
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
IDEAS: dict[str, dict[str, Any]] = {
    "global blocks": {"mlp": "swiglu", "window": 5, "global_every": 2},
    "shared keys": {"mlp": "swiglu", "kv_blocks": 2},
    "tracks": {"mlp": "swiglu", "tracks": 2, "track_blocks": 1, "embedding_shortcut": True, "qk_norm": True},
    "experts": {"mlp": "swiglu", "experts": 4, "shared_experts": 1, "mtp_heads": 1},
    "depths": {"depth_capacity": 0.5, "window": 7},
    "state space": {"mixer": "mamba2", "ssm_state": 6, "ssm_chunk": 8},
    "state space, attention in turn": {"mixer": "mamba2", "ssm_state": 6, "attention_every": 2, "tied": False},
    "segments": {"segment": 16, "attention": "grouped", "n_kv_head": 2},
    "ring": {"mlp": "swiglu", "linear": "ring", "linear_in": "mlp", "bond": 3},
    "ternary": {"linear": "ternary", "attention": "latent", "projection_dim": 12},
    "two bits": {"mlp": "relu2", "linear": "two_bit", "linear_in": "mlp", "mtp_heads": 1},
    "value residual": {"mlp": "swiglu", "value_residual": True},
    "embedding shortcut": {"mlp": "swiglu", "embedding_shortcut": True},
    "embedding norm": {"mlp": "swiglu", "embedding_norm": True},
    "document mask": {"mlp": "swiglu", "document_mask": True},
    "moving averages": {"mlp": "swiglu", "mixer": "megalodon", "ema_dim": 4, "attention_chunk": 16},
}
"""One network at least of each idea that has settings of the network."""
MENU = NATIVE | WITH_CODE | {name: ("lilm", options) for name, options in IDEAS.items()}


@pytest.mark.parametrize(("kind", "options"), MENU.values(), ids=MENU)
def test_a_folder_of_a_known_architecture_comes_back_bit_for_bit(
    corpus: Corpus, tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    model = lively(corpus, options)
    files = files_of(model)
    assert (model_type(model.network.config), CODE in files) == (kind, kind == "lilm")
    assert json.loads(files["config.json"])["model_type"] == kind
    check_round_trip(model, files, tmp_path)


@pytest.mark.parametrize("options", IDEAS.values(), ids=IDEAS)
def test_an_idea_has_no_architecture_of_others(corpus: Corpus, options: dict[str, Any]) -> None:
    config = lively(corpus, options).network.config
    assert no_architecture(config) == refusal(config)
    assert no_architecture(config) is not None


@pytest.mark.parametrize("options", WITH_CODE.values(), ids=WITH_CODE)
def test_a_folder_with_code_of_an_earlier_version_goes_on_loading(
    corpus: Corpus, tmp_path: Path, options: tuple[str, dict[str, Any]]
) -> None:
    """It had Llama's names."""
    import safetensors.torch

    model = lively(corpus, options[1])
    files = files_of(model)
    config = json.loads(files["config.json"]) | {"format": FORMAT}
    weights = {name: w for name, w in renamed(model.network).items() if not name.startswith("mtp.")}
    old = {"config.json": json.dumps(config).encode(), WEIGHTS: safetensors.torch.save(weights)}
    check_round_trip(model, files | old, tmp_path)


@pytest.mark.parametrize(("kind", "options"), MENU.values(), ids=MENU)
def test_the_code_in_a_folder_imports_torch_and_transformers_alone(
    corpus: Corpus, kind: str, options: dict[str, Any]
) -> None:
    code = files_of(lively(corpus, options)).get(CODE)
    assert (code is not None) == (kind == "lilm")
    if code is None:
        return
    tree = ast.parse(code)
    imports = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    imports |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    others = {name.split(".")[0] for name in imports} - set(sys.stdlib_module_names)
    assert others - {"jaxtyping"} == {"torch", "transformers"}
    assert any("jaxtyping" in ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Try))


def test_the_code_in_a_folder_has_no_part_that_the_network_has_not(corpus: Corpus) -> None:
    codes = {name: files_of(lively(corpus, IDEAS[name]))[CODE].decode() for name in ("state space", "experts")}
    for words, there in {
        "class Mamba(": ("state space",),
        "class Attention(": ("experts",),
        "class Experts(": ("experts",),
        "class Ternary(": (),
        "def counts(": (),  # operations, which nothing there asks for
        "LilmForCausalLM(": ("state space", "experts"),
    }.items():
        assert tuple(name for name, code in codes.items() if words in code) == there


def test_one_file_refuses_two_things_of_one_name() -> None:
    with pytest.raises(ValueError, match=r"EXPANSION is in model.network.mixers.m\w+ and in model.network.mixers.m"):
        one_file("model.network.transformer", ["block", "two_hop", "mamba2", "megalodon", "gelu", "dense"])


def check_round_trip(model: Checkpoint, files: dict[str, bytes], place: Path) -> None:
    write_folder(place / "folder", files)
    again = load(place / "folder", torch.device("cpu"))
    assert again.network.config == model.network.config
    before, after = stored_weights(model.network), stored_weights(again.network)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
