"""The model card: what a model is, its BPB with its interval, how it was trained, its limits, how to load it."""

from collections.abc import Mapping
from typing import Any

import yaml

from model.formats.transformers_layout import CLASSES, model_type
from model.network.flops import count_active_parameters, count_parameters
from model.network.transformer import Transformer
from search.common.durations import format_duration
from search.common.network_size import dropped_text, parameters_text, per_parameter_text
from search.common.templates import fill
from search.export.export import PAIRS, runs_text
from search.study.scores import UNUSED, summary_text
from search.study.trials import DROPPED


def model_card(table: Mapping[str, Any], claim: Mapping[str, Any], network: Transformer, samples: str) -> str:
    """Return a model's card in Markdown: `table` is its configuration's export, `claim` the info of its weights."""
    result, data, provenance = table["result"], claim["data"], claim["provenance"]
    return fill(
        __package__,
        "model_card.md.j2",
        front=_front(table["study"], claim),
        table=table,
        result=result,
        runs_text=runs_text,
        pairs_text=pairs_text,
        pairs=result.get(PAIRS),
        has_pairs=any(PAIRS in part for part in (table.get("weights", {}), result, *table["baselines"])),
        train=table["train"],
        baselines=[b for b in table["baselines"] if table["configuration"] != f"baseline {b['name']}"],
        best_seed=len(result["seeds"]) > 1 and claim["val_bpb"] == min(result["bpb_by_seed"]),
        claim=claim,
        budget=format_duration(claim["budget_seconds"]),
        data=data,
        held_out=data.get("validation_split")
        or f"{data['holdout_rows']} of every {data['holdout_period']} rows, held out",
        provenance=provenance,
        ran=(
            provenance.get("device"),
            provenance.get("precision"),
            _tokens(claim, network),
            dropped_text(claim.get(DROPPED)),
        ),
        can_be_trained=True,
        samples=samples,
        unused=UNUSED,
        summary_text=summary_text,
        **_network(network),
    )


def pairs_text(part: Mapping[str, Any]) -> str:
    """Return what a part of an export says of minimal pairs, as a table's cell; a dash where it says nothing."""
    return summary_text(part[PAIRS]) if PAIRS in part else "–"


def merge_card(merge: Mapping[str, Any], claim: Mapping[str, Any], network: Transformer, samples: str) -> str:
    """Return the card of a merge in Markdown: `merge` is what the info of its weights, `claim`, says of it."""
    half = merge.get("half_width_95")
    return fill(
        __package__,
        "merge_card.md.j2",
        front=_front(f"{claim['study']}, merged", claim),
        merge=merge,
        claim=claim,
        difference=f"{merge['difference']:+.4f}" + (f" ± {half:.4f}" if half is not None else ""),
        data=claim["data"],
        provenance=claim["provenance"],
        can_be_trained=False,
        samples=samples,
        **_network(network),
    )


def _network(network: Transformer) -> dict[str, Any]:
    """Return what cards say of a network."""
    kind = model_type(network.config)
    return {
        "architecture": CLASSES[kind],
        "kind": kind,
        "trust": ", trust_remote_code=True" if kind == "lilm" else "",
        "config": network.config,
        "vocab_size": network.vocab_size,
        "n_params": parameters_text(*_sizes(network)),
    }


def _front(name: str, claim: Mapping[str, Any]) -> str:
    data = {"type": "text", "name": claim["data"]["source"]}
    metric = {"type": "bits_per_byte", "name": "BPB", "value": round(claim["val_bpb"], 4)}
    results = [{"task": {"type": "text-generation"}, "dataset": data, "metrics": [metric]}]
    meta = {
        "library_name": "lilm-search",
        "pipeline_tag": "text-generation",
        "tags": ["lilm-search", "small-language-model"],
        "model-index": [{"name": name, "results": results}],
    }
    return yaml.safe_dump(meta, sort_keys=False)


def _tokens(claim: Mapping[str, Any], network: Transformer) -> str:
    if "tokens" not in claim:
        return ""
    return f"{claim['tokens']:,} tokens, {per_parameter_text(claim['tokens'], *_sizes(network))}"


def _sizes(network: Transformer) -> tuple[int, int]:
    """Return the number of all parameters, and that of those that a token passes through."""
    shape = (network.config, network.vocab_size)
    return count_parameters(*shape), count_active_parameters(*shape)
