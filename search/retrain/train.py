"""Training outside a study: an export again, or the recipe."""

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
from search.common.network_size import dropped_text, parameters_text, per_parameter_text
from search.common.signals import StopRequest
from search.export.export import write
from search.export.reader import ExportedTraining, read_export
from search.machine.hardware import detect_hardware
from search.machine.preparation import Progress
from search.machine.provenance import data_hashes, run_provenance
from search.retrain.recipe import recipe_export, run_recipe, starting_point
from search.study import study_file
from search.study.plan import Configuration, Plan
from search.study.trials import DROPPED


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
    """Train an export for its budget, or for `budget`; save a checkpoint to `out` and return its BPB."""
    training = read_export(config, rank).training
    if budget:
        training = replace(training, budget=budget, horizon=None)
    budget_seconds = _seconds(training.budget)
    out_file.check(out)
    corpus = export_corpus(training, data, progress)
    result = train_export(training, corpus, budget_scale=1.0, seed=seed, device=device, say=say)
    assert result.val_bpb is not None
    info = {
        "val_bpb": result.val_bpb,
        "seed": seed,
        "budget_seconds": budget_seconds,
        "tokens": result.tokens,
        **({DROPPED: result.dropped_share} if result.dropped_share is not None else {}),
        "data": data_from(training.data, data).table(),
        "provenance": run_provenance(device, result, None, seed=seed, budget_seconds=budget_seconds)
        | data_hashes(corpus),
    }
    checkpoint.save(out, result.network, corpus.tokenizer, info)
    say(speed_line(result))
    say(size_line(result))
    say(f"{result.val_bpb:.4f} BPB after {result.train_seconds:.1f} s of training; checkpoint: {out}")
    return result.val_bpb


def export_corpus(training: ExportedTraining, data: str | None, progress: Progress) -> Corpus:
    """Prepare and return an export's text, which is read from `data` if given, else from where the export says."""
    return prepare(data_from(training.data, data), training.configuration.tokenizer, paths.cache(), progress)


def data_from(data: DataConfig, source: str | None) -> DataConfig:
    """Return the description of a text, with `source` as its place if given.

    Raises `SearchError` if no source is given and the text isn't where the description says.
    """
    if source:
        return replace(data, source=study_file.local_source(source))
    if not study_file.is_named(data.source) and not Path(data.source).is_absolute():  # releases leave folders out
        try:
            local_files(data.source)
        except DataError:
            raise SearchError(f"the text is {data.source}, which is not here: say where with --data") from None
    return data


def train_export(
    training: ExportedTraining,
    corpus: Corpus,
    *,
    budget_scale: float,
    seed: int,
    device: torch.device,
    say: Callable[[str], None],
    trainer: Callable[..., Result] = train,
) -> Result:
    """Train an export's configuration for its budget × `budget_scale`; print a line for each tenth of it."""

    def show(report: Report) -> bool:
        say(f"{report.percent:>3}%  {report.val_bpb:.4f} BPB  {report.tokens:,} tokens  {report.train_seconds:.0f} s")
        return True

    return trainer(
        training.configuration.model,
        training.configuration.train,
        corpus,
        budget_seconds=budget_scale * _seconds(training.budget),
        horizon_seconds=budget_scale * _seconds(training.horizon) if training.horizon else None,
        seed=seed,
        report_points=tuple(range(10, 101, 10)),
        device=device,
        micro_batches=MicroBatches(paths.cache() / "micro-batches"),
        on_report=show,
    )


def size_line(result: Result) -> str:
    """Return a run's parameters, tokens for each, and dropped choices of experts, on one line."""
    sizes = (result.n_params, result.n_active_params)
    line = f"{parameters_text(*sizes)} parameters; tokens: {per_parameter_text(result.tokens, *sizes)}"
    return "; ".join(filter(None, [line, dropped_text(result.dropped_share)]))


def speed_line(result: Result) -> str:
    """Return a run's speed, mode and precision, and the time that it spent outside training, on one line."""
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


def _checkpoint_path(out: Path) -> Path:
    """Return the checkpoint's path beside the configuration `out`; raises `SearchError` if they are the same."""
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
    """Run a study's recipe; write an export to `out` and the checkpoint beside it."""
    budget = budget or plan.confirm.budget
    budget_seconds = _seconds(budget)
    checkpoint_path = _checkpoint_path(out)
    corpus = prepare(plan.data, starting_point(plan).tokenizer, paths.cache(), progress)
    one_document = replace(corpus, validation=corpus.validation.subset(1))

    def trainer(configuration: Configuration, seconds: float, *, measuring: bool = False) -> Result:
        return train(
            configuration.model,
            compiled_as(configuration.train, device, budget_seconds),
            one_document if measuring else corpus,
            budget_seconds=seconds,
            seed=seed,
            report_points=(100,),
            device=device,
            micro_batches=MicroBatches(paths.cache() / "micro-batches"),
            should_stop=stop,
        )

    machine = detect_hardware(device)
    recipe = run_recipe(plan, budget_seconds, trainer, say)
    provenance = run_provenance(device, recipe.result, None, seed=seed, budget_seconds=budget_seconds) | data_hashes(
        corpus
    )
    provenance.pop("host")
    table = recipe_export(plan, recipe, budget, seed, provenance) | {"hardware": machine.table()}
    write(out, table, "toml")
    checkpoint.save(checkpoint_path, recipe.result.network, corpus.tokenizer, {"val_bpb": recipe.result.val_bpb})
    result = recipe.result
    tokens_per_param = per_parameter_text(result.tokens, result.n_params, result.n_active_params)
    say(speed_line(recipe.result))
    say(f"{recipe.result.val_bpb:.4f} BPB, tokens: {tokens_per_param}")
    say(f"configuration: {out}; checkpoint: {checkpoint_path}")
