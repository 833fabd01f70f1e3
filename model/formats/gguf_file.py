"""A network and its tokenizer as one GGUF file, which llama.cpp and what is built on it run.

llama.cpp knows fewer architectures than transformers, and its two SentencePiece tokenizers differ in rare cases:
docs/howto/result.md says which. Weights come by transformers' names.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.atomic import replacing, why_not
from model.config import ModelConfig
from model.data.tokenizer import Piece, Tokenizer
from model.errors import CheckpointError
from model.formats.checkpoint import Checkpoint
from model.formats.tokenizer_json import is_bpe
from model.formats.transformers_layout import FURTHER, model_type, no_architecture, renamed, windowed

QUANTIZATIONS = ("f32", "f16", "q8_0")
ARCHITECTURES = ("llama", "qwen3", "arcee")
"""Architectures that have the same name in llama.cpp."""
INTERLEAVED = ("llama", "arcee")
"""Those whose rotary positions turn the pairs (2i, 2i + 1) there, instead of (i, i + K/2)."""
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""llama.cpp's name of each weight."""
TOKEN_TYPES = {"normal": 1, "unknown": 2, "control": 3, "byte": 6}
"""llama.cpp's numbers for kinds of tokens."""


def refusal(config: ModelConfig) -> str | None:
    """Return why llama.cpp can't run such a network, or None if it can."""
    if reason := no_architecture(config):
        return reason
    reasons = {
        'attention = "latent" has no architecture there': config.attention == "latent",
        'positions = "alibi" has none with RMSNorm': config.positions == "alibi",
        f"logit_softcap = {config.logit_softcap:g} has none with these blocks": config.logit_softcap > 0,
        f"window = {config.window} would be the whole context there": windowed(config),
        'mlp = "gelu" is always gated there': config.mlp == "gelu",
        'qk_norm = true needs mlp = "swiglu" there': config.qk_norm and config.mlp != "swiglu",
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def check(path: Path, config: ModelConfig) -> None:
    """Raise `CheckpointError` if such a network can't be written for llama.cpp, here or at all."""
    if reason := refusal(config):
        raise CheckpointError(
            f"--gguf is {path}, but llama.cpp can't run this network: {reason}; "
            "--huggingface writes any, and a search for llama.cpp fixes those settings"
        )
    _package()


def write_gguf(path: Path, checkpoint: Checkpoint, name: str, quantization: str = "f16") -> None:
    """Write the file whole or not at all; raises `CheckpointError` if the network isn't one that llama.cpp runs.

    `quantization` is that of matrices: norms stay in float32, as does a matrix whose rows are no multiple of 32 in q8_0
    (then f16). Heads that predict further on are left out.
    """
    check(path, checkpoint.network.config)
    gguf = _package()
    try:
        with replacing(path) as unfinished:
            writer = gguf.GGUFWriter(unfinished, model_type(checkpoint.network.config))
            _add_settings(writer, checkpoint, name)
            _add_tokenizer(writer, checkpoint.tokenizer)
            for tensor_name, tensor in tensors(checkpoint).items():
                _add_tensor(gguf, writer, tensor_name, tensor, quantization)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
    except OSError as error:
        raise CheckpointError(f"{path}: can't be written: {why_not(path, error)}") from None


def _package() -> Any:
    try:
        import gguf
    except ModuleNotFoundError:
        raise CheckpointError("--gguf needs the package gguf: pip install 'lilm-search[gguf]'") from None
    return gguf


def _add_settings(writer: Any, checkpoint: Checkpoint, name: str) -> None:
    config = checkpoint.network.config
    writer.add_name(name)
    writer.add_vocab_size(checkpoint.network.vocab_size)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.d_model)
    writer.add_block_count(config.n_layer)
    writer.add_feed_forward_length(config.hidden_width)
    writer.add_head_count(config.n_head)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_base)
    writer.add_layer_norm_rms_eps(torch.finfo(torch.float32).eps)


def _add_tokenizer(writer: Any, tokenizer: Tokenizer) -> None:
    pieces = tokenizer.pieces()
    bpe = is_bpe(pieces)
    pieces = pieces if bpe else spelt_as_characters(pieces)
    writer.add_tokenizer_model("llama" if bpe else "t5")  # its names for SentencePiece's BPE and unigram
    writer.add_token_list([piece.text for piece in pieces])
    writer.add_token_scores([piece.score for piece in pieces])
    writer.add_token_types([TOKEN_TYPES[piece.kind] for piece in pieces])
    writer.add_bos_token_id(tokenizer.separator)
    writer.add_eos_token_id(tokenizer.separator)
    writer.add_pad_token_id(tokenizer.separator)
    writer.add_unk_token_id(next(i for i, piece in enumerate(pieces) if piece.kind == "unknown"))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(False)


ASCII_BYTE = re.compile("<0x([0-7][0-9A-F])>")
UNKNOWN_PENALTY = 10.0
"""What SentencePiece takes off the lowest score for a character that is no piece (`kUnkPenalty`)."""


def spelt_as_characters(pieces: Sequence[Piece]) -> list[Piece]:
    """Return a unigram tokenizer's pieces with those of ASCII's bytes as characters, for a tokenizer without bytes.

    llama.cpp's unigram gives the unknown token for what SentencePiece spells in bytes: line breaks, nearly always. As
    a piece with the score of an unknown character, each is chosen where its byte would be.
    """
    normal = [piece for piece in pieces if piece.kind == "normal"]
    score, texts = min(piece.score for piece in normal) - UNKNOWN_PENALTY, {piece.text for piece in normal}

    def spelt(piece: Piece) -> Piece:
        byte = ASCII_BYTE.fullmatch(piece.text) if piece.kind == "byte" else None
        character = chr(int(byte[1], 16)) if byte else ""
        # U+0000 would end the piece's text, and a space is a piece already, in its other form.
        return piece if character in ("", "\0", " ", *texts) else Piece(character, score, "normal")

    return [spelt(piece) for piece in pieces]


def tensors(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Return the weights that inference needs, by llama.cpp's names, float32."""
    config = checkpoint.network.config
    named: dict[str, np.ndarray] = {}
    for theirs, weight in renamed(checkpoint.network).items():
        if theirs.startswith(FURTHER):
            continue
        part = theirs.removesuffix(".weight")
        layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", part)
        array = weight.float().numpy()
        if part.endswith(("q_proj", "k_proj")) and model_type(config) in INTERLEAVED:
            array = interleaved(array, config.head_dim)
        named[f"blk.{layer[1]}.{NAMES[layer[2]]}.weight" if layer else f"{NAMES[part]}.weight"] = array
    return named


def interleaved(matrix: np.ndarray, head_dim: int) -> np.ndarray:
    """Return the matrix (heads · K, D) with each head's rows 0, K/2, 1, K/2 + 1, … in this order."""
    heads = matrix.reshape(-1, 2, head_dim // 2, matrix.shape[1])
    return heads.swapaxes(1, 2).reshape(matrix.shape)


def _add_tensor(gguf: Any, writer: Any, name: str, array: np.ndarray, quantization: str) -> None:
    types = gguf.GGMLQuantizationType
    if array.ndim < 2 or quantization == "f32":
        writer.add_tensor(name, array)
    elif quantization == "q8_0" and array.shape[1] % gguf.GGML_QUANT_SIZES[types.Q8_0][0] == 0:
        writer.add_tensor(name, gguf.quantize(array, types.Q8_0), raw_dtype=types.Q8_0)
    else:
        writer.add_tensor(name, array.astype(np.float16))
