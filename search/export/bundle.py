"""What is handed to others: the best configuration with the weights of one of its runs, as plain files.

The same files make a bundle (a zip) and a Hugging Face-style folder. What they claim is the BPB of the very run whose
weights they hold; the configuration's mean over its seeds stands beside it.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from optuna.trial import FrozenTrial

from model.formats import checkpoint
from model.formats import zip_bundle as archive
from model.formats.checkpoint import Checkpoint
from model.formats.load import write_folder
from model.formats.safetensors_folder import files_of
from model.sample import samples
from search.analysis.snapshot import Snapshot
from search.common import out_file, paths
from search.common.durations import parse_duration
from search.common.errors import SearchError
from search.export.download import bring
from search.export.export import entry_export, found_in, render, to_train_again
from search.export.model_card import card
from search.machine.provenance import without_host
from search.study.results import Confirmed
from search.study.study import LinkedStudy
from search.study.study_file import source_name
from search.study.trials import PROVENANCE, TOKENS, attributes_of, budget_of
from storage.artifacts.postgres import MEGABYTE

CPU = torch.device("cpu")


def hand_out(
    facts: Snapshot, weights: Path | None, bundle: Path | None, folder: Path | None, say: Callable[[str], None]
) -> None:
    """Write a study's best configuration with weights as a zip, as a folder, or both; say what they hold."""
    if bundle:  # before the weights are fetched
        out_file.check(bundle, "--bundle")
    if folder:
        out_file.check_place(folder, "--huggingface")
    files = release(facts, weights, say)
    if bundle:
        archive.pack(bundle, files)
    if folder:
        write_folder(folder, files)
    size = sum(map(len, files.values())) / MEGABYTE
    places = [str(place) for place in (bundle, folder) if place]
    say(f"written: {' and '.join(places)}, {size:.1f} MB in {len(files) + 1} files; README.md wants a licence from you")
    say(f"`lilm-search evaluate --checkpoint {places[0]}` measures its BPB again, here or anywhere")


def release(facts: Snapshot, weights: Path | None, say: Callable[[str], None]) -> dict[str, bytes]:
    """Return the files of a study's best configuration, with the weights of its best run or those given.

    Raises `SearchError` where there are none, or those given are of something else.
    """
    study, entry = facts.study, found_in(facts)[0]
    with tempfile.TemporaryDirectory(prefix="lilm-search-") as scratch:
        run, trained = given(study, entry, weights) if weights else stored(study, entry, Path(scratch), say)
        text = samples_of(study, run, trained, Path(scratch))
    table = entry_export(facts, entry)
    if run is not None:
        table |= to_train_again(study, entry.params, run)
    claim = _claim(study, entry, run, trained)
    table |= {"data": claim["data"], "weights": {k: v for k, v in claim.items() if k in OF_WEIGHTS}}
    files = files_of(Checkpoint(trained.network, trained.tokenizer, claim))
    readme = card(table, claim, trained.network, text)
    texts = {"export.toml": render(table, "toml"), "samples.txt": text, "README.md": readme}
    return files | {name: content.encode() for name, content in texts.items()}


MOST_CHARACTERS = 1 << 20
"""Of samples, which a worker that isn't trusted may have written."""
OF_WEIGHTS = ("confirmation", "seed", "budget_seconds", "val_bpb")
"""What an export says of the weights that lie beside it."""


def stored(
    study: LinkedStudy, entry: Confirmed, scratch: Path, say: Callable[[str], None]
) -> tuple[FrozenTrial, Checkpoint]:
    """Return the best run whose weights are on this machine or among the study's files."""
    runs = sorted(entry.runs, key=lambda run: run.value or 0.0)
    for run in runs:
        path = _weights(study, run, scratch)
        if path is None:
            say(f"note: the weights of confirmation {run.number}, {run.value:.4f} BPB, are not stored")
            continue
        trained = checkpoint.load(path, CPU)
        if trained.info.get("val_bpb") != run.value:
            raise SearchError(f"{path.name} is not of confirmation {run.number}: its BPB is another; see `artifacts`")
        return run, trained
    best = runs[0]
    kept = f"LILM_SEARCH_HOME/checkpoints/{study.runs_folder}/confirm-{best.number}.pt"
    raise SearchError(
        f"no weights of {entry.label} are stored (`artifact_mb` is {study.plan.workers.artifact_mb:g}). Bring {kept} "
        f"from worker {attributes_of(best).worker or '?'}'s machine, or train them again (`export --out best.toml`, "
        "`train --config best.toml --out best.pt`); then add --weights best.pt"
    )


def _weights(study: LinkedStudy, run: FrozenTrial, scratch: Path) -> Path | None:
    name = f"confirm-{run.number}.pt"
    here = paths.checkpoints(study.runs_folder) / name
    return here if here.is_file() else _brought(study, run, name, scratch)


def _brought(study: LinkedStudy, run: FrozenTrial, name: str, scratch: Path) -> Path | None:
    """Return where one of the run's stored files is now; None where it isn't stored."""
    try:
        bring(study, name, None, run.number, scratch / name)
    except SearchError:
        return None
    return scratch / name


def given(study: LinkedStudy, entry: Confirmed, weights: Path) -> tuple[FrozenTrial | None, Checkpoint]:
    """Return the weights in a file, and the run that they are of where it is one of the study's.

    Raises `SearchError` where they are of another configuration, text or tokenizer, or claim no BPB.
    """
    trained = checkpoint.load(weights, CPU)
    info, known = trained.info, trained.info.get("provenance", {})
    for run in entry.runs:
        if (info.get("study"), info.get("confirmation"), info.get("val_bpb")) == (
            study.plan.name,
            run.number,
            run.value,
        ):
            return run, trained
    wanted = attributes_of(entry.runs[0]).provenance
    differs = [
        what
        for what, mine, its in (
            ("network", study.plan.configuration(entry.params).model, trained.network.config),
            ("tokenizer", wanted.get("tokenizer_sha256"), trained.tokenizer.sha256),
            ("text", wanted.get("text_sha256"), known.get("text_sha256")),
        )
        if mine != its
    ]
    if differs or not {"val_bpb", "budget_seconds"} <= info.keys():
        why = f"their {' and '.join(differs)} differ" if differs else "they claim no BPB, or for no budget"
        raise SearchError(
            f"--weights is {weights}, but these are not of {entry.label}: {why}; `export --out best.toml` and "
            "`train --config best.toml` make some that are"
        )
    return None, trained


def samples_of(study: LinkedStudy, run: FrozenTrial | None, trained: Checkpoint, scratch: Path) -> str:
    """Return what the weights made of the standard prompts when they were stored, or make of them now."""
    path = _brought(study, run, f"samples-{run.number}.txt", scratch) if run else None
    return path.read_text(encoding="utf-8", errors="replace")[:MOST_CHARACTERS] if path else samples(trained)


def _claim(study: LinkedStudy, entry: Confirmed, run: FrozenTrial | None, trained: Checkpoint) -> dict[str, Any]:
    """Return what is claimed of the weights, and all that measuring it again needs."""
    info: Mapping[str, Any] = trained.info
    if run is not None:
        attrs = attributes_of(run)
        budget = parse_duration(budget_of(run, study.plan)) * (attrs.budget_scale or 1.0)
        info = {"confirmation": run.number, "seed": attrs.seed, "budget_seconds": budget, "val_bpb": run.value}
        info |= {k: run.user_attrs[k] for k in (TOKENS, PROVENANCE) if k in run.user_attrs}
    claim = {k: info[k] for k in (*OF_WEIGHTS, "tokens") if k in info}
    data = study.plan.data.table()
    data["source"] = source_name(data["source"])
    named = {"study": study.plan.name, "configuration": entry.label}
    return {**named, **claim, "data": data, "provenance": without_host(info.get("provenance", {}))}
