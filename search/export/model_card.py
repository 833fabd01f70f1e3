"""The model card: what a model is, how it was trained, how good and how surely, where it fails, how to load it."""

from collections.abc import Mapping
from typing import Any

import yaml

from model.formats.safetensors_folder import ARCHITECTURE
from model.network.flops import count_parameters
from model.network.transformer import Transformer
from search.common.durations import format_duration
from search.common.safe_text import code, fenced, plain, sentence

FRONT = """\
---
{meta}# license: choose one before you publish this; the text's own terms may bind you
---
"""
BPB = (
    "BPB, bits per byte: Σ nats of every validation token, document separators included, ÷ (ln 2 · Σ raw UTF-8 bytes). "
    "Lower is better; it compares across tokenizers, and only on the same text."
)
LOADING = """\
Nothing in these files is executed when they are loaded. With lilm-search installed:

```
lilm-search evaluate --checkpoint THIS              # measures the BPB above again; --data says where the text is
lilm-search sample --checkpoint THIS --prompt "the "
lilm-search train --config export.toml              # trains the configuration again; --data as well
```

`THIS` is the bundle (`best.zip`) or the folder with its files. In Python: `model.formats.load.load(path, device)`.
`transformers` doesn't know the architecture. The tokenizer is SentencePiece's (`tokenizer.model`), and loses nothing;
signs and names that it reserves are replaced before encoding and restored after decoding, see
`replaced_before_encoding` in `tokenizer_config.json`. Every document ends with `</s>`, and generation starts from one.
"""
LIMITS = """\
- Trained for {budget} from nothing: it imitates the form of its text, and what it says is not to be relied on.
- Not instructed, not filtered: it repeats what its text holds, biases and personal data included.
- It sees {context} tokens back, and was measured in windows of so many.
"""


def card(table: Mapping[str, Any], claim: Mapping[str, Any], network: Transformer, samples: str) -> str:
    """Return the card of a model: `table` is its configuration's export, `claim` is of these very weights."""
    parts = {
        "": _what(table, claim, network),
        "How good it is": _results(table, claim),
        "How it was trained": _training(table, claim, network),
        "What it writes": f"From the standard prompts, nothing chosen:\n\n{fenced(samples.strip())}\n",
        "How to load it": LOADING,
        "Limits": _limits(table, claim, network),
        "Licence": "Not chosen: whoever publishes this model adds one here and at the top of this file.\n",
    }
    body = "\n".join(f"## {title}\n\n{text}" if title else text for title, text in parts.items())
    return FRONT.format(meta=_front(table, claim)) + body


def _front(table: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
    data = {"type": "text", "name": claim["data"]["source"]}
    metric = {"type": "bits_per_byte", "name": "BPB", "value": round(claim["val_bpb"], 4)}
    results = [{"task": {"type": "text-generation"}, "dataset": data, "metrics": [metric]}]
    meta = {
        "library_name": "lilm-search",
        "pipeline_tag": "text-generation",
        "tags": ["lilm-search", "small-language-model"],
        "model-index": [{"name": table["study"], "results": results}],
    }
    return yaml.safe_dump(meta, sort_keys=False)


def _what(table: Mapping[str, Any], claim: Mapping[str, Any], network: Transformer) -> str:
    config, vocab_size = network.config, network.vocab_size
    n_params = count_parameters(config, vocab_size)
    return (
        f"# {table['study']}: a language model of {n_params:,} parameters\n\n"
        f"A decoder-only transformer ({ARCHITECTURE}: {config.n_layer} layers, width {config.d_model}, "
        f"{config.n_head} heads, {config.attention} attention, context {config.context}, {vocab_size:,} tokens), "
        f"trained from nothing for {format_duration(claim['budget_seconds'])}. {_chosen(table)}\n"
    )


def _chosen(table: Mapping[str, Any]) -> str:
    name = plain(table["configuration"])
    if table["configuration"].startswith("baseline "):
        return f"Made by hand ({name}), and confirmed in the study `{table['study']}`."
    return f"Found by lilm-search: {name} of the study `{table['study']}`."


def _results(table: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
    result = table["result"]
    rows = [("these weights" + (f", seed {claim['seed']}" if "seed" in claim else ""), f"**{claim['val_bpb']:.4f}**")]
    rows.append((f"the configuration, {_seeds(result)}", _figure(result)))
    others = [b for b in table["baselines"] if table["configuration"] != f"baseline {b['name']}"]
    rows += [(f"baseline {plain(b['name'])}, made by hand, {_seeds(b)}", _figure(b)) for b in others]
    lines = [f"| {what} | {bpb} |" for what, bpb in rows]
    best = len(result["seeds"]) > 1 and claim["val_bpb"] == min(result["bpb_by_seed"])
    chosen = " These weights are the best seed's: expect the mean of a new run." if best else ""
    return (
        "| | validation BPB, 95% interval |\n|---|---|\n" + "\n".join(lines) + f"\n\n{BPB}{chosen}\n\n"
        f"Better than by hand? {plain(result['better_than_baseline'].capitalize())}.\n{sentence(table['transfer'])}\n"
    )


def _seeds(result: Mapping[str, Any]) -> str:
    n = len(result["seeds"])
    return "one seed" if n == 1 else f"mean of {n} seeds"


def _figure(result: Mapping[str, Any]) -> str:
    bounds = result.get("interval_95")
    return f"{result['val_bpb']:.4f}" + (f" ({bounds[0]:.4f} … {bounds[1]:.4f})" if bounds else " (noise not known)")


def _training(table: Mapping[str, Any], claim: Mapping[str, Any], network: Transformer) -> str:
    known, data, training = claim["provenance"], claim["data"], table["train"]
    n_params = count_parameters(network.config, network.vocab_size)
    tokens = f"{claim['tokens']:,} tokens, {claim['tokens'] / n_params:.1f} per parameter" if "tokens" in claim else ""
    held = data.get("validation_split") or f"{data['holdout_rows']} of every {data['holdout_period']} rows, held out"
    ran = (known.get("device"), known.get("precision"), tokens)
    rows = {
        "Text": f"{plain(data['source'])}, sha-256 {code(known.get('text_sha256', 'not known'))}; "
        f"validation: {plain(held)}",
        "Budget": f"{format_duration(claim['budget_seconds'])} of training on the clock, evaluation off it",
        "Run": "; ".join(plain(part) for part in ran if part),
        "Optimizer": f"{training['optimizer']}, max_lr {training['max_lr']:.4g}, {training['schedule']}, "
        f"batches of {training['batch_size']} × {network.config.context} tokens",
        "Tokenizer": f"{table['tokenizer']['kind']}, {network.vocab_size:,} tokens, lossless",
        "Software": f"lilm-search {plain(known.get('lilm_search', '?'))}, torch {plain(known.get('torch', '?'))}",
    }
    return "".join(f"- {name}: {text}\n" for name, text in rows.items()) + "- All of it: `export.toml`\n"


def _limits(table: Mapping[str, Any], claim: Mapping[str, Any], network: Transformer) -> str:
    limits = LIMITS.format(budget=format_duration(claim["budget_seconds"]), context=network.config.context)
    return limits + "".join(f"- Of the search: {sentence(warning)}\n" for warning in table["warnings"])
