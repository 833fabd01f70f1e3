"""A network as a model of Hugging Face's transformers: its architecture, settings and names there.

RMSNorm before each part, rotary positions that turn the pairs (i, i + K/2) and bias-free matrices are those of Llama's
family, so that most configurations are one of its architectures to the last operation, with weights by Llama's names.
All others are `lilm`, whose code is the file `modeling_lilm.py`, and whose weights have the network's own names.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from model.config import ModelConfig
from model.formats.checkpoint import stored_weights
from model.formats.one_file import one_file
from model.network.transformer import Transformer
from model.options.plain import PlainConfig

CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "arcee": "ArceeForCausalLM",
    "lilm": "LilmForCausalLM",
}
"""Class of each architecture in transformers; the last one's is ours."""
ACTIVATIONS = {"gelu": "gelu_pytorch_tanh", "relu2": "relu2", "swiglu": "silu"}
"""Names of the MLPs' nonlinearities in transformers."""
ONLY_INITIAL = {"zero_init"}
"""Options that make no difference once a network is trained."""
CODE = "modeling_lilm.py"
"""File of our class, beside the weights."""
AUTO_MAP = {
    "AutoConfig": "modeling_lilm.LilmConfig",
    "AutoModelForCausalLM": f"modeling_lilm.{CLASSES['lilm']}",
}
"""Where `AutoModelForCausalLM` finds our class."""
OWN = "network."
"""What our class puts before the network's own names."""
FURTHER = "mtp."
"""Beginning of the names of weights that only training needs, the same in both."""


def windowed(config: ModelConfig) -> bool:
    """Return whether a window hides a part of the context."""
    return 0 < config.window < config.context


def model_type(config: ModelConfig) -> str:
    """Return the architecture in transformers that computes exactly this network; `lilm` if that is ours alone."""
    if beyond_plain(config) or config.positions != "rope" or config.attention == "latent" or config.logit_softcap:
        return "lilm"
    if config.mlp != "swiglu":
        return "lilm" if config.qk_norm or windowed(config) else "arcee"
    if config.qk_norm:
        return "qwen3"
    return "mistral" if windowed(config) else "llama"


def beyond_plain(config: ModelConfig) -> list[str]:
    """Return the settings that add to the plain transformer, as a study file has them; each has a default without."""
    plain = {field.name for field in fields(PlainConfig)} | ONLY_INITIAL
    options = [f for f in fields(config) if f.name not in plain]
    changed = {f.name: value for f in options if (value := getattr(config, f.name)) != f.default}
    return [f"{name} = {json.dumps(value)}" for name, value in changed.items()]


def no_architecture(config: ModelConfig) -> str | None:
    """Return why no program's own architectures compute such a network; None where the settings are Llama's kind."""
    settings = beyond_plain(config)
    return f"{', '.join(settings)} {'have' if settings[1:] else 'has'} no architecture there" if settings else None


def modelling_code(config: ModelConfig) -> str:
    """Return the text of the file `CODE` for such a network: what it is computed by here."""
    kinds = {kind for layer in config.layers for kind in (layer.block, layer.mixer, layer.mlp)}
    return one_file("model.formats.modeling_lilm", kinds | {config.mlp, "dense", config.linear})


def config_table(network: Transformer, separator: int) -> dict[str, Any]:
    """Return the architecture's `config.json`; `separator` is the token before and after every document."""
    config, kind = network.config, model_type(network.config)
    return {
        "architectures": [CLASSES[kind]],
        "model_type": kind,
        "vocab_size": network.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "max_position_embeddings": config.context,
        "bos_token_id": separator,
        "eos_token_id": separator,
        "dtype": "float32",
        **({"auto_map": AUTO_MAP} if kind == "lilm" else _llama_settings(config, kind)),
    }


def _llama_settings(config: ModelConfig, kind: str) -> dict[str, Any]:
    """Return the settings of Llama and its kin."""
    window = {"sliding_window": config.window if windowed(config) else None}
    extra: dict[str, dict[str, Any]] = {
        "mistral": window,
        "qwen3": {**window, "use_sliding_window": windowed(config), "max_window_layers": 0, "attention_bias": False},
    }
    return {
        "intermediate_size": config.hidden_width,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base},
        "hidden_act": ACTIVATIONS[config.mlp],
        "rms_norm_eps": torch.finfo(torch.float32).eps,
        "tie_word_embeddings": config.tied,
        **extra.get(kind, {}),
    }


def named(network: Transformer) -> dict[str, Tensor]:
    """Return what is stored of the network, by the names of its architecture in transformers."""
    if model_type(network.config) != "lilm":
        return renamed(network)
    return {name if name.startswith(FURTHER) else OWN + name: w for name, w in stored_weights(network).items()}


def renamed(network: Transformer) -> dict[str, Tensor]:
    """Return the weights of a network of Llama's kind by Llama's names; a tied matrix once, as the embedding."""
    config, weights = network.config, stored_weights(network)
    llamas = {theirs: weights[ours] for ours, theirs in _whole(config).items()}
    for ours, theirs in _joined(config).items():
        llamas |= zip(theirs, torch.split(weights[ours], list(theirs.values())), strict=True)
    further = {name: w for name, w in weights.items() if name.startswith(FURTHER)}
    return {name: w.contiguous() for name, w in (llamas | further).items()}


def original(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Return weights by the network's own names, the reverse of `renamed`; raises KeyError if one is missing."""
    whole = {ours: weights[theirs] for ours, theirs in _whole(config).items()}
    joined = {ours: torch.cat([weights[name] for name in theirs]) for ours, theirs in _joined(config).items()}
    return whole | joined | {name: w for name, w in weights.items() if name.startswith(FURTHER)}


def _whole(config: ModelConfig) -> dict[str, str]:
    """Return transformers' name of each weight that is one there, too."""
    names = {"embedding.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"}
    if not config.tied:
        names["unembedding.weight"] = "lm_head.weight"
    parts = {
        "attention_norm": "input_layernorm",
        "attention.out": "self_attn.o_proj",
        "mlp_norm": "post_attention_layernorm",
        "mlp.down": "mlp.down_proj",
    }
    if config.attention == "latent":
        parts |= {f"attention.{n}": f"self_attn.{n}_proj" for n in ("q", "kv_down", "kv_up")}
    if config.qk_norm:
        parts |= {f"attention.{n}": f"self_attn.{n}" for n in ("q_norm", "k_norm")}
    if config.mlp != "swiglu":
        parts["mlp.up"] = "mlp.up_proj"
    return names | {
        f"blocks.{i}.{ours}.weight": f"model.layers.{i}.{theirs}.weight"
        for i in range(config.n_layer)
        for ours, theirs in parts.items()
    }


def _joined(config: ModelConfig) -> dict[str, dict[str, int]]:
    """Return, for each matrix that is several there, their names and rows, from the first row on."""
    kv_width = config.kv_heads * config.head_dim
    parts: dict[str, dict[str, int]] = {}
    if config.attention != "latent":
        rows = {"q": config.d_model, "k": kv_width, "v": kv_width}
        parts["attention.qkv"] = {f"self_attn.{name}_proj": n for name, n in rows.items()}
    if config.mlp == "swiglu":
        parts["mlp.up"] = {"mlp.gate_proj": config.hidden_width, "mlp.up_proj": config.hidden_width}
    return {
        f"blocks.{i}.{ours}.weight": {f"model.layers.{i}.{name}.weight": rows for name, rows in theirs.items()}
        for i in range(config.n_layer)
        for ours, theirs in parts.items()
    }
