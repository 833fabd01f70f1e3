"""A trained network as a Hugging Face-style folder of plain files: safetensors weights, JSON, the tokenizer.

transformers loads it: `transformers_layout` says as which architecture. Our own loader builds the network from this
project's own settings in `config.json`, `settings`, and executes nothing in the folder.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from model.config import ModelConfig
from model.data.tokenizer import Tokenizer
from model.data.tokenizer_cache import FILE as TOKENIZER
from model.errors import CheckpointError, ModelError
from model.formats.checkpoint import Checkpoint, assemble
from model.formats.tokenizer_json import tokenizer_json
from model.formats.transformers_layout import (
    CLASSES,
    CODE,
    FURTHER,
    OWN,
    config_table,
    model_type,
    modelling_code,
    named,
    original,
)
from model.network.transformer import Transformer

WEIGHTS, CONFIG, INFO = "model.safetensors", "config.json", "provenance.json"
FURTHER_WEIGHTS = "further_heads.safetensors"
"""File of the weights that only training needs, which transformers would complain of in the other."""
NEEDED = (WEIGHTS, CONFIG, TOKENIZER)
OPTIONAL = (FURTHER_WEIGHTS, INFO)
FORMAT = "lilm-search model 2"
"""Format of a folder with weights by Llama's names."""
OWN_FORMAT = "lilm-search model 3"
"""Format of one with weights by the network's own names, as our class has them."""
FIRST = ("LilmTransformer", "lilm-search model 1")
"""Architecture and format of earlier folders that transformers couldn't load."""


def files_of(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Return a checkpoint as files: name to content, the same bytes for the same weights."""
    import safetensors.torch

    network, tokenizer = checkpoint.network, checkpoint.tokenizer
    # Tied embeddings are one parameter of the network, so that no two of these tensors share memory.
    weights = named(network)
    further = {name: weights.pop(name) for name in list(weights) if name.startswith(FURTHER)}
    files = {
        WEIGHTS: safetensors.torch.save(weights, metadata={"format": "pt"}),
        CONFIG: _json(_config(network, tokenizer)),
        TOKENIZER: tokenizer.proto,
        "tokenizer.json": _json(tokenizer_json(tokenizer)),
        "tokenizer_config.json": _json(_tokenizer_config(network, tokenizer)),
        "generation_config.json": _json(_generation_config(tokenizer)),
        INFO: _json(checkpoint.info),
    }
    if further:
        files[FURTHER_WEIGHTS] = safetensors.torch.save(further, metadata={"format": "pt"})
    if model_type(network.config) == "lilm":
        files[CODE] = modelling_code(network.config).encode()
    return files


def checkpoint_of(files: Mapping[str, bytes], origin: Path, device: torch.device) -> Checkpoint:
    """Return the checkpoint of these files, the reverse of `files_of`; raises `CheckpointError` that names `origin`."""
    for name in NEEDED:
        if name not in files:
            raise CheckpointError(f"{origin}: not a model of lilm-search: it has no {name}")
    config = _table(files[CONFIG], f"{origin}: {CONFIG}")
    written_by = (config.get("architectures"), config.get("format"))
    by_llamas_names = [([name], FORMAT) for name in CLASSES.values()]  # of our class in earlier folders alone
    if written_by not in [*by_llamas_names, ([CLASSES["lilm"]], OWN_FORMAT), ([FIRST[0]], FIRST[1])]:
        raise CheckpointError(
            f"{origin}: {CONFIG} is of {written_by[0]}, format {written_by[1]!r}, but must be of {OWN_FORMAT!r} ("
            f"or {FORMAT!r}, {FIRST[1]!r}): only models of lilm-search can be loaded"
        )
    settings = config.get("settings", {})
    weights = _weights(files, origin)
    if written_by[1] == OWN_FORMAT:
        weights = {name.removeprefix(OWN): w for name, w in weights.items()}
    elif written_by[1] == FORMAT:
        try:
            weights = original(weights, ModelConfig.parse(settings))
        except KeyError as error:
            raise CheckpointError(f"{origin}: {WEIGHTS} is damaged: it has no {error}") from None
        except (RuntimeError, ModelError) as error:
            raise CheckpointError(f"{origin}: damaged: {str(error).splitlines()[0]}") from None
    info = _table(files[INFO], f"{origin}: {INFO}") if INFO in files else {}
    return assemble(origin, settings, weights, files[TOKENIZER], info, device)


def _weights(files: Mapping[str, bytes], origin: Path) -> dict[str, torch.Tensor]:
    import safetensors
    import safetensors.torch

    weights: dict[str, torch.Tensor] = {}
    for name in (WEIGHTS, FURTHER_WEIGHTS):
        try:
            weights |= safetensors.torch.load(files[name]) if name in files else {}
        except (safetensors.SafetensorError, ValueError, KeyError) as error:
            raise CheckpointError(f"{origin}: {name} is damaged: {error}") from None
    return weights


def _config(network: Transformer, tokenizer: Tokenizer) -> dict[str, Any]:
    form = OWN_FORMAT if model_type(network.config) == "lilm" else FORMAT
    return config_table(network, tokenizer.separator) | {"format": form, "settings": network.config.table()}


def _tokenizer_config(network: Transformer, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",  # the one that takes tokenizer.json as it is
        "bos_token": "</s>",
        "eos_token": "</s>",
        "pad_token": "</s>",
        "unk_token": "<unk>",
        "split_special_tokens": True,  # a text's own "</s>" is text
        "model_max_length": network.config.context,
        "clean_up_tokenization_spaces": False,
        "replaced_before_encoding": [list(pair) for pair in tokenizer.replaced],
    }


def _generation_config(tokenizer: Tokenizer) -> dict[str, Any]:
    separator = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer.separator)
    return {**separator, "do_sample": True, "temperature": 0.8, "top_k": 50, "max_new_tokens": 100}


def _json(table: Mapping[str, Any]) -> bytes:
    return (json.dumps(table, indent=2, ensure_ascii=True) + "\n").encode()


def _table(content: bytes, place: str) -> dict[str, Any]:
    try:
        table = json.loads(content)
    except (ValueError, RecursionError):
        raise CheckpointError(f"{place} is damaged: not JSON") from None
    if not isinstance(table, dict):
        raise CheckpointError(f"{place} is damaged: not a JSON object")
    return table
