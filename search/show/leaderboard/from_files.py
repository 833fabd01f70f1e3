"""Entrants from files: exports, bundles and folders of other machines and databases."""

import math
import zipfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from model.config import PROTOCOL
from model.formats.sample_text import read_samples
from model.formats.zip_bundle import is_archive, unpack
from search.common.durations import parse_duration
from search.common.errors import SearchError
from search.common.safe_text import plain_line, plain_text
from search.export.reader import Export, ExportPath, read_exports
from search.show.leaderboard.boards import UNKNOWN, Conditions, Entrant
from search.show.leaderboard.from_studies import MOST_BYTES
from search.show.leaderboard.links import LinkTemplate
from search.show.wording import describe
from search.study.estimate import Estimate
from search.study.study_file import source_name

EXPORT, SAMPLES = "export.toml", "samples.txt"


def entrants_from_file(path: Path, link: LinkTemplate) -> list[Entrant]:
    """Return the models in an export, bundle or folder; raises `SearchError` or `CheckpointError`."""
    place, generations = _opened(path)
    return [_entrant(path, export, generations, link) for export in read_exports(place)]


def _opened(path: Path) -> tuple[ExportPath, dict[str, str]]:
    """Return the path of the export, which may be in a bundle, and the generated texts beside it, if there are any."""
    if path.is_dir():
        samples = path / SAMPLES
        return path / EXPORT, _read_samples(samples.read_bytes() if samples.is_file() else b"")
    if not is_archive(path):
        if zipfile.is_zipfile(path):
            raise SearchError(
                f"{path}: neither an export nor a bundle of lilm-search; `export --bundle best.zip` writes one"
            )
        return path, {}
    files = unpack(path)  # checks all of them
    if EXPORT not in files:
        raise SearchError(f"{path}: this bundle has no {EXPORT}, which has a model's result")
    return zipfile.Path(path, EXPORT), _read_samples(files.get(SAMPLES, b""))


def _read_samples(content: bytes) -> dict[str, str]:
    texts = read_samples(content[:MOST_BYTES].decode("utf-8", "replace"))
    return {plain_line(prompt): plain_text(text) for prompt, text in texts.items()}


def _entrant(path: Path, export: Export, generations: Mapping[str, str], link: LinkTemplate) -> Entrant:
    table, result, training = export.table, export.result, export.training
    for key, value in (("val_bpb", result.val_bpb), ("mean_bpb", result.mean_bpb)):
        if not math.isfinite(value):
            raise SearchError(f"{path}: `{key}` is {value}, but must be a number")
    parameters = table.get("parameters")
    parameters = parameters if isinstance(parameters, Mapping) else {}
    study, configuration = (str(table.get(key, path.stem)) for key in ("study", "configuration"))
    horizon = [f"the first part of a run of {training.horizon}"] if training.horizon else []
    return Entrant(
        study=plain_line(study),
        configuration=plain_line(configuration),
        settings=plain_line(describe(parameters)),
        source=plain_line(source_name(training.data.source)),
        conditions=Conditions(
            text=plain_line(str(result.provenance.get("text_sha256", f"{UNKNOWN}{path}"))),
            protocol=plain_line(str(result.provenance.get("evaluation", PROTOCOL))),
            context=None if "context" in parameters else training.configuration.model.context,
            budget_seconds=parse_duration(training.budget),
            hardware=plain_line(result.machine.label) if result.machine else "",
        ),
        mean_bpb=result.mean_bpb,
        seeds=len(result.seeds),
        noise=result.noise,
        estimate=None
        if result.new_run_half_width is None
        else Estimate(result.val_bpb, result.half_width, result.new_run_half_width),
        baseline=configuration.startswith("baseline "),
        confirmed_on=_day(path, table["result"]),
        remarks=(*horizon, f"from {plain_line(path.name)}"),
        generations=generations,
        link=link.fill({"study": study, "configuration": configuration, "file": str(path)}),
    )


def _day(path: Path, table: Mapping[str, Any]) -> date | None:
    text = table.get("confirmed_on")
    try:
        return None if text is None else date.fromisoformat(str(text))
    except ValueError:
        raise SearchError(f"{path}: `confirmed_on` is {text!r}, but must be a day such as 2026-01-31") from None
