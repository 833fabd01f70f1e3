"""Training outside any study: an export again, or the search by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from model.config import DataConfig
from model.data.corpus import Corpus, prepare
from model.data.text_files import local_files
from model.errors import DataError
from model.formats import checkpoint
from model.training.compiling import compiled_as
from model.training.micro_batches import MicroBatches
from model.training.result import Report, Result
from model.training.train import train
from search.common import out_file, paths
from search.common.durations import parse_duration
from search.common.errors import SearchError
from search.common.signals import StopRequest
from search.export.export import write
from search.export.reader import Recipe, read_export
from search.machine.hardware import detect_hardware
from search.machine.preparation import Progress
from search.machine.provenance import data_hashes, run_provenance
from search.retrain.recipe import follow, recipe_export, starting_point
from search.study import study_file as studyfile
from search.study.plan import Configuration, Plan


def retrain(
    config: Path,
    budget: str | None,
    seed: int,
    out: Path,
    data: str | None,
    device: torch.device,
    progress: Progress,
    say: Callable[[str], None],
    rank: int | None = None,
) -> float:
    """Train an export for its budget, or another, save a checkpoint and return its BPB."""
    recipe = read_export(config, rank).recipe
    if budget:
        recipe = replace(recipe, budget=budget, horizon=None)
    budget_seconds = _seconds(recipe.budget)
    out_file.check(out)
    corpus = recipes_text(recipe, data, progress)
    result = train_recipe(recipe, corpus, budget_scale=1.0, seed=seed, device=device, say=say)
    assert result.val_bpb is not None
    info = {
        "val_bpb": result.val_bpb,
        "seed": seed,
        "budget_seconds": budget_seconds,
        "tokens": result.tokens,
        "data": read_from(recipe.data, data).table(),
        "provenance": run_provenance(device, result, None, seed=seed, budget_seconds=budget_seconds)
        | data_hashes(corpus),
    }
    checkpoint.save(out, result.network, corpus.tokenizer, info)
    say(account(result))
    say(f"{result.val_bpb:.4f} BPB after {result.train_seconds:.1f} s of training; checkpoint: {out}")
    return result.val_bpb


def recipes_text(recipe: Recipe, data: str | None, progress: Progress) -> Corpus:
    """Prepare a recipe's text, where `data` says, or else where the recipe does."""
    return prepare(read_from(recipe.data, data), recipe.configuration.tokenizer, paths.cache(), progress)


def read_from(data: DataConfig, source: str | None) -> DataConfig:
    """Return the record of a text, to be read from another place where one is named."""
    if source:
        return replace(data, source=studyfile.local_source(source))
    if not studyfile.is_named(data.source) and not Path(data.source).is_absolute():  # a release names no folders
        try:
            local_files(data.source)
        except DataError:
            raise SearchError(f"the text is {data.source}, which is not here: say where with --data") from None
    return data


def train_recipe(
    recipe: Recipe,
    corpus: Corpus,
    *,
    budget_scale: float,
    seed: int,
    device: torch.device,
    say: Callable[[str], None],
    trainer: Callable[..., Result] = train,
) -> Result:
    """Train a recipe for its budget, times a factor; a line is said for each tenth of it."""

    def show(report: Report) -> bool:
        say(f"{report.percent:>3}%  {report.val_bpb:.4f} BPB  {report.tokens:,} tokens  {report.train_seconds:.0f} s")
        return True

    return trainer(
        recipe.configuration.model,
        recipe.configuration.train,
        corpus,
        budget_seconds=budget_scale * _seconds(recipe.budget),
        horizon_seconds=budget_scale * _seconds(recipe.horizon) if recipe.horizon else None,
        seed=seed,
        report_points=tuple(range(10, 101, 10)),
        device=device,
        micro_batches=MicroBatches(paths.cache() / "micro-batches"),
        on_report=show,
    )


def account(result: Result) -> str:
    """Return on one line how a run went: speed, how steps were run, and where the rest of the time went."""
    return (
        f"{result.tokens_per_second:,.0f} tokens/s, MFU {result.mfu:.0%} ({result.mode}, {result.precision}); besides: "
        f"start {result.startup_seconds:.1f} s, compile {result.compile_seconds:.1f} s, "
        f"evaluate {result.evaluate_seconds:.1f} s"
    )


def _seconds(budget: str) -> float:
    try:
        return parse_duration(budget)
    except ValueError as error:
        raise SearchError(f"--budget: {error}") from None


def _beside(out: Path) -> Path:
    """Return where a configuration's checkpoint goes; raises `SearchError` where one would overwrite the other."""
    out_file.check(out)
    weights = out.with_suffix(".pt")
    if weights == out:
        raise SearchError(
            f"--out is {out}, but that is where the checkpoint goes; "
            f"name the configuration, such as {out.with_suffix('.toml')}"
        )
    out_file.check(weights)
    return weights


def search_by_hand(
    plan: Plan,
    budget: str | None,
    seed: int,
    out: Path,
    device: torch.device,
    stop: StopRequest,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    """Follow a study's recipe; write an export to `out` and the checkpoint beside it."""
    budget = budget or plan.confirm.budget
    budget_seconds = _seconds(budget)
    weights = _beside(out)
    corpus = prepare(plan.data, starting_point(plan).tokenizer, paths.cache(), progress)
    glimpse = replace(corpus, validation=corpus.validation.subset(1))

    def trainer(configuration: Configuration, seconds: float, *, measuring: bool = False) -> Result:
        return train(
            configuration.model,
            compiled_as(configuration.train, device, budget_seconds),
            glimpse if measuring else corpus,
            budget_seconds=seconds,
            seed=seed,
            report_points=(100,),
            device=device,
            micro_batches=MicroBatches(paths.cache() / "micro-batches"),
            should_stop=stop,
        )

    machine = detect_hardware(device)
    outcome = follow(plan, budget_seconds, trainer, say)
    known = run_provenance(device, outcome.result, None, seed=seed, budget_seconds=budget_seconds) | data_hashes(corpus)
    known.pop("host")
    table = recipe_export(plan, outcome, budget, seed, known) | {"hardware": machine.table()}
    write(out, table, "toml")
    checkpoint.save(weights, outcome.result.network, corpus.tokenizer, {"val_bpb": outcome.result.val_bpb})
    reached = outcome.result.tokens / outcome.result.n_params
    say(account(outcome.result))
    say(f"{outcome.result.val_bpb:.4f} BPB, {reached:.1f} tokens for each parameter")
    say(f"configuration: {out}; checkpoint: {weights}")
