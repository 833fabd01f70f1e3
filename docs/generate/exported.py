"""The page of exported networks: which programs run each option, from the code that writes the files."""

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from docs.generate.markdown import code, page, table
from model.config import ModelConfig
from model.formats import gguf_file, onnx_file
from model.formats.transformers_layout import CLASSES, model_type
from model.options.plain import PlainConfig
from search.study import study_file

Options = dict[str, Any]
PLAIN: Options = {"mlp": "swiglu"}
"""The network that each option is added to: Llama's."""
AMOUNTS: Options = {"window": 128, "logit_softcap": 15.0, "mtp_heads": 1, "rope_base": 50_000.0}
"""A value of each numeric option of the plain transformer that is more than a size."""
HEAD = ("in transformers", "in llama.cpp", "in a browser")
INTRO = (
    "What `export --huggingface`, `--gguf` and `--web` make of each option of the network. An architecture's name "
    "means that it computes the network to the last operation, from the files alone; *with code*, that the folder has "
    "`modeling_lilm.py`, the network's own code in one file, which `trust_remote_code=True` runs: every network "
    "runs in transformers. What llama.cpp or the page can't run is refused, with the "
    "reason that stands here. How far logits are apart, measured: [measurements](../measurements.md)."
)
ALONE = (
    'One option at a time beside `mlp = "swiglu"`, everything else as by default. Sizes (`n_layer`, `n_head`, '
    "`head_dim`, `mlp_ratio`, `context`, and `n_kv_head` and `projection_dim` where they count) change nothing in it."
)
TOGETHER = (
    "Rotary positions, full or grouped attention, no logit cap. With `tied`, `mtp_heads` and `rope_base` as you like: "
    "heads that predict further on serve training alone, and stay in `further_heads.safetensors`."
)
IDEAS = "Those of the shipped study `sweep-ideas`, each beside that network: [what they are](../explanation/ideas.md)."


def exported_page() -> str:
    """Return the page."""
    ideas = [(name, written(options), *places(options)) for name, options in idea_options().items()]
    return page(
        "# Exported networks",
        INTRO,
        f"## Options of the plain transformer\n\n{ALONE}",
        table(("setting", *HEAD), [(written(o), *places(o)) for o in plain_options()]),
        f"## Together\n\n{TOGETHER}",
        table(("setting", *HEAD), [(written(o), *places(o)) for o in combinations()]),
        f"## Ideas\n\n{IDEAS}",
        table(("idea", "setting", *HEAD), ideas),
    )


def plain_options() -> Iterator[Options]:
    """Yield every option of the plain transformer, each by itself: no option first, then every other value."""
    yield {}
    for f in fields(PlainConfig):
        if choices := f.metadata.get("choices"):
            yield from ({f.name: choice} for choice in choices if choice != {**_defaults(), **PLAIN}[f.name])
        elif isinstance(f.default, bool):
            yield {f.name: not f.default}
        elif f.name in AMOUNTS:
            yield {f.name: AMOUNTS[f.name]}


def combinations() -> Iterator[Options]:
    """Yield every MLP with and without normalised heads and a window."""
    for mlp, qk_norm, window in itertools.product(("swiglu", "gelu", "relu2"), (False, True), (0, AMOUNTS["window"])):
        yield {"mlp": mlp, **({"qk_norm": True} if qk_norm else {}), **({"window": window} if window else {})}


def idea_options() -> dict[str, Options]:
    """Return the settings of the network of each idea of `sweep-ideas`; ideas of training change none."""
    names = {f.name for f in fields(ModelConfig)}
    ideas = study_file.read("sweep-ideas").ideas
    return {idea: {k: v for k, v in changes.items() if k in names} for idea, changes in ideas.items()}


def places(options: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return what runs such a network, in transformers, in llama.cpp and in a browser."""
    config = ModelConfig(**{**PLAIN, **options})
    kind, reason, in_page = model_type(config), gguf_file.refusal(config), onnx_file.refusal(config)
    there = "with code" if kind == "lilm" else CLASSES[kind].removesuffix("ForCausalLM")
    return there, f"refused: {reason}" if reason else kind, f"refused: {in_page}" if in_page else "yes"


def written(options: Mapping[str, Any]) -> str:
    """Return options as a study file has them."""
    return ", ".join(code(f"{key} = {json.dumps(value)}") for key, value in options.items()) or "none"


def _defaults() -> Options:
    return {f.name: f.default for f in fields(PlainConfig)}
