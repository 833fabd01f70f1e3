"""Training an exported configuration again, outside any study."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from model import checkpoint
from model.corpus import prepare
from model.remember import MicroBatches
from model.train import Report, train
from search import paths, studyfile
from search.duration import parse_duration
from search.errors import SearchError
from search.export import read_recipe
from search.provenance import provenance
from search.start import Progress


def retrain(
    config: Path,
    budget: str | None,
    seed: int,
    out: Path,
    data: str | None,
    device: torch.device,
    progress: Progress,
    say: Callable[[str], None],
) -> float:
    """Train an export for its budget, or another, save a checkpoint and return its BPB."""
    recipe = read_recipe(config)
    try:
        budget_seconds = parse_duration(budget or recipe.budget)
    except ValueError as error:
        raise SearchError(f"--budget: {error}") from None
    if not out.parent.is_dir():
        raise SearchError(f"--out is {out}, but the folder {out.parent} does not exist; create it first")
    text = studyfile.local_source(data) if data else recipe.data.source
    corpus = prepare(replace(recipe.data, source=text), recipe.configuration.tokenizer, paths.cache(), progress)

    def show(report: Report) -> bool:
        say(f"{report.percent:>3}%  {report.val_bpb:.4f} BPB  {report.tokens:,} tokens  {report.train_seconds:.0f} s")
        return True

    result = train(
        recipe.configuration.model,
        recipe.configuration.train,
        corpus,
        budget_seconds=budget_seconds,
        seed=seed,
        report_points=tuple(range(10, 101, 10)),
        device=device,
        micro_batches=MicroBatches(paths.cache() / "micro-batches"),
        on_report=show,
    )
    assert result.val_bpb is not None
    info = {
        "val_bpb": result.val_bpb,
        "seed": seed,
        "budget_seconds": budget_seconds,
        "provenance": provenance(device, result.precision),
    }
    checkpoint.save(out, result.network, corpus.tokenizer, info)
    say(f"{result.val_bpb:.4f} BPB after {result.train_seconds:.1f} s of training; checkpoint: {out}")
    return result.val_bpb
