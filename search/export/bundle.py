"""Releases: the best configuration with the weights of one of its runs, as files for people outside the study.

The same files make a bundle (a zip) and a folder in Hugging Face's style. The BPB that they state first is that of the
run whose weights they hold; the configuration's mean over its seeds is given too.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from optuna.trial import FrozenTrial

from model.config import ModelConfig
from model.formats import checkpoint, gguf_file, onnx_file, zip_bundle
from model.formats.checkpoint import Checkpoint
from model.formats.load import load, write_folder
from model.formats.safetensors_folder import files_of
from model.sample import samples
from search.analysis.snapshot import Snapshot
from search.common import out_file, paths
from search.common.durations import parse_duration
from search.common.errors import SearchError
from search.export.download import download_file
from search.export.export import PAIRS, configuration_export, confirmed_configurations, render, to_train_again
from search.export.merged import merge_of
from search.export.model_card import merge_card, model_card
from search.export.web import page
from search.export.web.runtime import runtime_files
from search.machine.provenance import without_host
from search.study.results import Confirmed
from search.study.scores import scores_of
from search.study.study import LinkedStudy
from search.study.study_file import source_name
from search.study.trials import DROPPED, PROVENANCE, TOKENS, attributes_of, budget_of
from storage.artifacts.postgres import MEGABYTE

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Places:
    """Where a release goes, as the options of `export` name it."""

    bundle: Path | None
    huggingface: Path | None
    gguf: Path | None = None
    quantize: str = "f16"
    web: Path | None = None
    runtime: Path | None = None


def write_release(snapshot: Snapshot, weights: Path | None, places: Places, say: Callable[[str], None]) -> None:
    """Write a study's best configuration with its weights as a zip, a folder, a GGUF file, a page; print where."""
    merged = merge_release(snapshot.study, weights) if weights else None
    if merged and places.web:
        raise SearchError(
            f"--web {places.web} shows a configuration and its confirmed BPB, but {weights} is a merge, which has "
            "neither; --bundle, --huggingface and --gguf take it"
        )
    best = confirmed_configurations(snapshot)[0]
    config = merged[1].network.config if merged else snapshot.plan.configuration(best.params).model
    runtime = _check(places, config)
    files, trained = merged or release(snapshot, weights, say)
    if places.gguf:
        name = f"{snapshot.plan.name}, merged" if merged else snapshot.plan.name
        gguf_file.write_gguf(places.gguf, trained, name, places.quantize)
        size = places.gguf.stat().st_size / MEGABYTE
        say(f"written: {places.gguf}, {size:.1f} MB, matrices in {places.quantize}; llama.cpp runs it")
    if places.bundle:
        zip_bundle.pack(places.bundle, files)
    if places.huggingface:
        write_folder(places.huggingface, files)
    if written := [str(place) for place in (places.bundle, places.huggingface) if place]:
        size, where = sum(map(len, files.values())) / MEGABYTE, " and ".join(written)
        say(f"written: {where}, {size:.1f} MB in {len(files) + 1} files; README.md wants a licence from you")
        say(f"`lilm-search evaluate --checkpoint {written[0]}` measures its BPB again, here or anywhere")
    if places.web:
        size = page.write_page(places.web, files, trained, runtime) / MEGABYTE
        folder = "the folder it is unzipped to" if page.is_zip(places.web) else places.web
        say(f"written: {places.web}, {size:.1f} MB, a page for any file server; README.md wants a licence from you")
        say(f"to look at it: `python -m http.server --bind 127.0.0.1 --directory {folder}`, http://127.0.0.1:8000/")


def _check(places: Places, config: ModelConfig) -> dict[str, bytes]:
    """Refuse what can't be written before the weights are downloaded, which takes long; return a page's runtime."""
    for option, file in (("--bundle", places.bundle), ("--gguf", places.gguf)):
        if file:
            out_file.check(file, option)
    if places.huggingface:
        out_file.check_place(places.huggingface, "--huggingface")
    if places.web:
        page.check(places.web)
    if places.gguf:
        gguf_file.check(places.gguf, config)
    if not places.web:
        return {}
    onnx_file.check(config, f"--web {places.web}")
    return runtime_files(places.runtime)


def release(
    snapshot: Snapshot, weights: Path | None, say: Callable[[str], None]
) -> tuple[dict[str, bytes], Checkpoint]:
    """Return a release's files by name, and the model in them: the best run's, or that in the file `weights`.

    Raises `SearchError` if no weights are stored, or those in the file are of another configuration.
    """
    study, entry = snapshot.study, confirmed_configurations(snapshot)[0]
    with tempfile.TemporaryDirectory(prefix="lilm-search-") as scratch:
        run, trained = (
            weights_from_file(study, entry, weights) if weights else stored_weights(study, entry, Path(scratch), say)
        )
        samples_text = sample_text(study, run, trained, Path(scratch))
    table = configuration_export(snapshot, entry)
    if run is not None:
        table |= to_train_again(study, entry.params, run)
    info = _weights_info(study, entry, run, trained)
    table |= {"data": info["data"], "weights": {k: v for k, v in info.items() if k in WEIGHTS_KEYS}}
    if run is not None and (scores := scores_of([run])):
        table["weights"][PAIRS] = scores.summary()
    trained = Checkpoint(trained.network, trained.tokenizer, info)
    files = files_of(trained)
    readme = model_card(table, info, trained.network, samples_text)
    texts = {"export.toml": render(table, "toml"), "samples.txt": samples_text, "README.md": readme}
    return files | {name: content.encode() for name, content in texts.items()}, trained


def merge_release(study: LinkedStudy, weights: Path) -> tuple[dict[str, bytes], Checkpoint] | None:
    """Return the files of a merge of the study, and the model; None if the file `weights` is none.

    They are a release of the merge alone, without the evidence of the study's best configuration, whose it is not.
    Raises `SearchError` for a merge of another study.
    """
    trained = checkpoint.load(weights, CPU)
    merge = merge_of(trained.info)
    if merge is None:
        return None
    if trained.info.get("study") != study.plan.name:
        raise SearchError(
            f"--weights is {weights}, but that is a merge of {trained.info.get('study')!s:.100}: name that study "
            "with --study"
        )
    data = {**trained.info["data"], "source": source_name(str(trained.info["data"]["source"]))}
    trained = Checkpoint(trained.network, trained.tokenizer, {**trained.info, "data": data})
    samples_text = samples(trained)
    readme = merge_card(merge, trained.info, trained.network, samples_text)
    texts = {"samples.txt": samples_text, "README.md": readme}
    return files_of(trained) | {name: content.encode() for name, content in texts.items()}, trained


MOST_SAMPLE_CHARACTERS = 1 << 20
"""Characters of samples that are read at most: a worker that isn't trusted may have written them."""
WEIGHTS_KEYS = ("confirmation", "seed", "budget_seconds", "val_bpb")
"""Keys of the table `weights` in a release's export, which describes the weights beside it."""


def stored_weights(
    study: LinkedStudy, entry: Confirmed, scratch: Path, say: Callable[[str], None]
) -> tuple[FrozenTrial, Checkpoint]:
    """Return the best run whose weights are on this machine or among the study's files, and these weights.

    Raises `SearchError` if no run's weights are.
    """
    runs = sorted(entry.runs, key=lambda run: run.value or 0.0)
    for run in runs:
        trained = run_weights(study, run, scratch, say)
        if trained is not None:
            return run, trained
    best = runs[0]
    kept_at = f"LILM_SEARCH_HOME/checkpoints/{study.runs_folder}/confirm-{best.number}.pt"
    raise SearchError(
        f"no weights of {entry.label} are stored (`artifact_mb` is {study.plan.workers.artifact_mb:g}). Bring "
        f"{kept_at} from worker {attributes_of(best).worker or '?'}'s machine, or train them again "
        "(`export --out best.toml`, `train --config best.toml --out best.pt`); then add --weights best.pt"
    )


def run_weights(study: LinkedStudy, run: FrozenTrial, scratch: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """Return a confirmation run's weights from this machine or the study's files; None, said, if they aren't stored.

    Raises `SearchError` if the file is another run's.
    """
    path = stored_file(study, run, f"confirm-{run.number}.pt", scratch)
    if path is None:
        say(f"note: the weights of confirmation {run.number}, {run.value:.4f} BPB, are not stored")
        return None
    trained = checkpoint.load(path, CPU)
    if trained.info.get("val_bpb") != run.value:
        raise SearchError(f"{path.name} is not of confirmation {run.number}: its BPB is another; see `artifacts`")
    return trained


def stored_file(study: LinkedStudy, run: FrozenTrial, name: str, scratch: Path) -> Path | None:
    """Return the path of one of a run's checkpoints on this machine, or of a copy from the study's files; or None."""
    path = paths.checkpoints(study.runs_folder) / name
    return path if path.is_file() else _downloaded(study, run, name, scratch)


def _downloaded(study: LinkedStudy, run: FrozenTrial, name: str, scratch: Path) -> Path | None:
    """Download one of the run's files into `scratch`; return its path, or None if it isn't stored."""
    try:
        download_file(study, name, None, run.number, scratch / name)
    except SearchError:
        return None
    return scratch / name


def weights_from_file(study: LinkedStudy, entry: Confirmed, weights: Path) -> tuple[FrozenTrial | None, Checkpoint]:
    """Return the run that a file's weights are of, or None if it isn't one of the study's runs, and the weights.

    Raises `SearchError` if they are of another configuration, text or tokenizer, or state no BPB.
    """
    trained = load(weights, CPU)
    info, provenance = trained.info, trained.info.get("provenance", {})
    for run in entry.runs:
        if (info.get("study"), info.get("confirmation"), info.get("val_bpb")) == (
            study.plan.name,
            run.number,
            run.value,
        ):
            return run, trained
    expected = attributes_of(entry.runs[0]).provenance
    differences = [
        part
        for part, study_value, file_value in (
            ("network", study.plan.configuration(entry.params).model, trained.network.config),
            ("tokenizer", expected.get("tokenizer_sha256"), trained.tokenizer.sha256),
            ("text", expected.get("text_sha256"), provenance.get("text_sha256")),
        )
        if study_value != file_value
    ]
    if differences or not {"val_bpb", "budget_seconds"} <= info.keys():
        reason = f"their {' and '.join(differences)} differ" if differences else "they claim no BPB, or for no budget"
        raise SearchError(
            f"--weights is {weights}, but these are not of {entry.label}: {reason}; `export --out best.toml` and "
            "`train --config best.toml` make some that are"
        )
    return None, trained


def sample_text(study: LinkedStudy, run: FrozenTrial | None, trained: Checkpoint, scratch: Path) -> str:
    """Return the samples that were stored with the run, or else new ones from the same standard prompts."""
    path = _downloaded(study, run, f"samples-{run.number}.txt", scratch) if run else None
    return path.read_text(encoding="utf-8", errors="replace")[:MOST_SAMPLE_CHARACTERS] if path else samples(trained)


def _weights_info(study: LinkedStudy, entry: Confirmed, run: FrozenTrial | None, trained: Checkpoint) -> dict[str, Any]:
    """Return the info that is stored with the weights: their BPB, and all that is needed to measure it again."""
    info: Mapping[str, Any] = trained.info
    if run is not None:
        attrs = attributes_of(run)
        budget = parse_duration(budget_of(run, study.plan)) * (attrs.budget_scale or 1.0)
        info = {"confirmation": run.number, "seed": attrs.seed, "budget_seconds": budget, "val_bpb": run.value}
        info |= {k: run.user_attrs[k] for k in (TOKENS, PROVENANCE) if k in run.user_attrs}
        info |= {DROPPED: attrs.dropped_share} if attrs.dropped_share is not None else {}
    table = {k: info[k] for k in (*WEIGHTS_KEYS, TOKENS, DROPPED) if k in info}
    data = study.plan.data.table()
    data["source"] = source_name(data["source"])
    names = {"study": study.plan.name, "configuration": entry.label}
    return {**names, **table, "data": data, "provenance": without_host(info.get("provenance", {}))}
