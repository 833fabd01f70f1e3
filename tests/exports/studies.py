"""A study of seconds for each idea of `sweep-ideas`: its settings as shipped, a small network, a short text."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import tomli_w

from model.config import ModelConfig
from search.study import study_file

SETTINGS: dict[str, dict[str, Any]] = {
    "data": {"holdout_period": 20, "holdout_rows": 1},
    "tokenizer": {"vocab_size": 512, "sample_bytes": 300_000},
    # Four blocks, so that every fourth is another one; the shipped context, so that windows and segments count.
    "model": {"context": 512, "n_layer": 4, "n_head": 2, "head_dim": 16},
    "train": {"batch_size": 2, "compile": "off"},
    "space": {"max_lr": {"low": 2e-3, "high": 1e-2, "log": True}},
    "proxy": {"sampler": "random", "trials": 1},
    "confirm": {"top": 1, "random": 0, "widen": 0, "seeds": 1},
}


def ideas() -> dict[str, Mapping[str, Any]]:
    """Return the ideas that `sweep-ideas` compares, by name."""
    return dict(study_file.read("sweep-ideas").ideas)


def write_text(path: Path) -> None:
    """Write English that comes with Python, a row for each paragraph."""
    rows = [row for topic in topics.values() for row in str(topic).split("\n\n")][:1500]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")


def study(changes: Mapping[str, Any], text: Path, seconds: float) -> str:
    """Return the study file of one idea: a proxy, and one long run of so many seconds."""
    tables = {name: dict(table) for name, table in SETTINGS.items()}
    tables["data"]["source"] = str(text)
    of_the_network = {f.name for f in fields(ModelConfig)}
    for key, value in changes.items():
        tables["model" if key in of_the_network else "train"][key] = value
    tables["proxy"]["budget"], tables["confirm"]["budget"] = f"{seconds / 2:g}s", f"{seconds:g}s"
    return tomli_w.dumps(tables)
