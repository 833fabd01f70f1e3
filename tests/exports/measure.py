"""Measures a model's file with `model` alone: run in an environment that has torch, numpy, sentencepiece, safetensors.

python measure.py FILE TEXT CACHE      prints what it claims and what it has here, as JSON
"""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from model import DataConfig, load, val_bpb
from model.data.corpus import validation
from model.network.flops import count_parameters

UNNEEDED = ("optuna", "sqlalchemy", "typer", "rich", "datasets", "jaxtyping", "yaml", "pyarrow")
"""Packages of the search, none of which may be there."""


def main(file: str, text: str, cache: str) -> None:
    """Print what the file claims and what is measured."""
    present = [name for name in UNNEEDED if importlib.util.find_spec(name)]
    assert not present, f"not an environment for models alone: it has {', '.join(present)}"
    trained = load(Path(file), torch.device("cpu"))
    info, network = trained.info, trained.network
    tokens, sha256 = validation(replace(DataConfig.parse(info["data"]), source=text), trained.tokenizer, Path(cache))
    assert sha256 == info["provenance"]["text_sha256"], "another text"
    dtype = getattr(torch, info["provenance"]["precision"])
    found = {
        "claimed": info["val_bpb"],
        "here": val_bpb(network, tokens, trained.tokenizer.separator, dtype=dtype),
        "packed": sum(w.dtype == torch.uint8 for w in network.state_dict().values()),
        "parameters": count_parameters(network.config, network.vocab_size),
        "bytes": Path(file).stat().st_size,
        "precision": info["provenance"]["precision"],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
