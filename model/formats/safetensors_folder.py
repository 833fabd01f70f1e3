"""A trained network as a Hugging Face-style folder of plain files: safetensors weights, JSON, the tokenizer.

Nothing in such files can be executed. `config.json` names dimensions as transformers does, for people and tools; the
network is built from this project's own settings in it, `settings`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from model.data.tokenizer import Tokenizer
from model.data.tokenizer_cache import FILE as TOKENIZER
from model.errors import CheckpointError
from model.formats.checkpoint import Checkpoint, assemble
from model.network.transformer import Transformer

WEIGHTS, CONFIG, INFO = "model.safetensors", "config.json", "provenance.json"
NEEDED = (WEIGHTS, CONFIG, TOKENIZER)
ARCHITECTURE = "LilmTransformer"
FORMAT = "lilm-search model 1"
ACTIVATIONS = {"gelu": "gelu_pytorch_tanh", "relu2": "relu2", "swiglu": "silu"}
"""Names of the MLPs' nonlinearities in transformers."""


def files_of(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Return a checkpoint as files: name to content, the same bytes for the same weights."""
    import safetensors.torch

    network, tokenizer = checkpoint.network, checkpoint.tokenizer
    # Tied embeddings are one parameter of the network, so that no two of these tensors share memory.
    weights = {name: w.detach().cpu().contiguous() for name, w in network.state_dict().items()}
    return {
        WEIGHTS: safetensors.torch.save(weights, metadata={"format": "pt"}),
        CONFIG: _json(_config(network, tokenizer)),
        TOKENIZER: tokenizer.proto,
        "tokenizer_config.json": _json(_tokenizer_config(network, tokenizer)),
        "generation_config.json": _json(_generation_config(tokenizer)),
        INFO: _json(checkpoint.info),
    }


def checkpoint_of(files: Mapping[str, bytes], origin: Path, device: torch.device) -> Checkpoint:
    """Return the checkpoint of these files, the reverse of `files_of`; raises `CheckpointError` that names `origin`."""
    import safetensors
    import safetensors.torch

    for name in NEEDED:
        if name not in files:
            raise CheckpointError(f"{origin}: not a model of lilm-search: it has no {name}")
    config = _table(files[CONFIG], f"{origin}: {CONFIG}")
    if config.get("architectures") != [ARCHITECTURE] or config.get("format") != FORMAT:
        raise CheckpointError(
            f"{origin}: {CONFIG} is of {config.get('architectures')}, format {config.get('format')!r}, "
            f"but must be of {ARCHITECTURE}, {FORMAT!r}: only models of lilm-search can be loaded"
        )
    try:
        weights = safetensors.torch.load(files[WEIGHTS])
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{origin}: {WEIGHTS} is damaged: {error}") from None
    info = _table(files[INFO], f"{origin}: {INFO}") if INFO in files else {}
    return assemble(origin, config.get("settings", {}), weights, files[TOKENIZER], info, device)


def _config(network: Transformer, tokenizer: Tokenizer) -> dict[str, Any]:
    config = network.config
    return {
        "architectures": [ARCHITECTURE],
        "model_type": "lilm",
        "format": FORMAT,
        "vocab_size": network.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.hidden_width,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.context,
        "hidden_act": ACTIVATIONS[config.mlp],
        "rms_norm_eps": torch.finfo(torch.float32).eps,
        "tie_word_embeddings": config.tied,
        "bos_token_id": tokenizer.separator,
        "eos_token_id": tokenizer.separator,
        "torch_dtype": "float32",
        "settings": config.table(),
    }


def _tokenizer_config(network: Transformer, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "tokenizer_class": "SentencePieceProcessor",
        "vocab_file": TOKENIZER,
        "bos_token": "</s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "model_max_length": network.config.context,
        "clean_up_tokenization_spaces": False,
        "replaced_before_encoding": [list(pair) for pair in tokenizer.replaced],
    }


def _generation_config(tokenizer: Tokenizer) -> dict[str, Any]:
    separator = {"bos_token_id": tokenizer.separator, "eos_token_id": tokenizer.separator}
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
