"""An export as a Python script that trains it again with the `model` package alone, and back."""

import ast
import json
from collections.abc import Mapping
from typing import Any

from search.common.durations import parse_duration
from search.common.errors import SearchError

SCRIPT = '''\
"""{title}

Trains it again for its budget with its first seed, and keeps the weights:

    python THIS-FILE.py --seconds {seconds:g} --seed {seed} --out best.pt
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from model import DataConfig, ModelConfig, Report, TokenizerConfig, TrainConfig, prepare, save, train

# What the search found; `lilm-search train --config THIS-FILE.py` reads it too, without running anything here.
EXPORT = {export}


def show(report: Report) -> bool:
    print(f"{{report.percent:>3}}%  {{report.val_bpb:.4f}} BPB  {{report.tokens:,}} tokens", flush=True)
    return True  # False would stop here


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", default=EXPORT["data"]["source"], help="where the text is")
    options.add_argument("--seconds", type=float, default={seconds!r}, help="training time")
    options.add_argument("--seed", type=int, default={seed}, help="of initial weights and data order")
    options.add_argument("--out", type=Path, default=Path("best.pt"), help="where the checkpoint goes")
    options.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "lilm-search", help="prepared text")
    given = options.parse_args()

    data = replace(DataConfig.parse(EXPORT["data"]), source=given.data)
    corpus = prepare(data, TokenizerConfig.parse(EXPORT["tokenizer"]), given.cache)
    result = train(
        ModelConfig.parse(EXPORT["model"]),
        TrainConfig.parse(EXPORT["train"]),
        corpus,
        budget_seconds=given.seconds,
        seed=given.seed,
        report_points=range(10, 101, 10),
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        on_report=show,
    )
    known = {{"precision": result.precision, "text_sha256": corpus.text_sha256}}
    known["tokenizer_sha256"] = corpus.tokenizer.sha256
    info = {{"val_bpb": result.val_bpb, "seed": given.seed, "budget_seconds": given.seconds}}
    info |= {{"tokens": result.tokens, "data": data.table(), "provenance": known}}
    save(given.out, result.network, corpus.tokenizer, info)
    print(f"{{result.val_bpb:.4f}} BPB after {{result.train_seconds:.1f}} s of training; checkpoint: {{given.out}}")


if __name__ == "__main__":
    main()
'''


def script(table: Mapping[str, Any], title: str) -> str:
    """Return an export as a script; its table stands in it as a literal.

    Raises `SearchError` for a seed that is none.
    """
    seed, seconds = table["result"]["seeds"][0], parse_duration(table["budget"])
    if type(seed) is not int:  # a worker's word: it would stand in the script as code
        raise SearchError(f"the first run's seed is {seed!r}, but must be an integer: its record was tampered with")
    title = title.replace("\\", "/").replace('"', "'")  # a baseline's name may hold anything
    return SCRIPT.format(title=title, export=literal(table), seconds=seconds, seed=seed)


def literal(value: Any, indent: str = "") -> str:
    """Return plain values as Python's source, a line for each key of a table."""
    deeper = indent + "    "
    if isinstance(value, Mapping):
        lines = [f"{deeper}{literal(key)}: {literal(item, deeper)},\n" for key, item in value.items()]
        return "{\n" + "".join(lines) + indent + "}"
    if isinstance(value, list) and any(isinstance(item, Mapping | str) for item in value):
        return "[\n" + "".join(f"{deeper}{literal(item, deeper)},\n" for item in value) + indent + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def read_script(text: str) -> Any:
    """Return the table that stands in a script, which is parsed and never run; None where there is none."""
    try:
        for statement in ast.parse(text).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id="EXPORT")], value=value):
                    return ast.literal_eval(value)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return None
