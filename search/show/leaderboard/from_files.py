"""Models on the leaderboard that came as files: exports, bundles and folders from other machines and databases."""

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
from search.export.reader import Export, Place, read_exports
from search.show.leaderboard.boards import UNKNOWN, Entrant, Ground
from search.show.leaderboard.from_studies import MOST_BYTES
from search.show.leaderboard.links import Template
from search.show.wording import describe
from search.study.study_file import source_name

EXPORT, SAMPLES = "export.toml", "samples.txt"


def of_file(path: Path, link: Template) -> list[Entrant]:
    """Return the models of an export, or the one of a bundle or folder; raises `SearchError` or `CheckpointError`."""
    place, written = _opened(path)
    return [_entrant(path, export, written, link) for export in read_exports(place)]


def _opened(path: Path) -> tuple[Place, dict[str, str]]:
    """Return where the export is, in a bundle or by itself, and what the model writes where that lies beside it."""
    if path.is_dir():
        samples = path / SAMPLES
        return path / EXPORT, _written(samples.read_bytes() if samples.is_file() else b"")
    if not is_archive(path):
        if zipfile.is_zipfile(path):
            raise SearchError(
                f"{path}: neither an export nor a bundle of lilm-search; `export --bundle best.zip` writes one"
            )
        return path, {}
    files = unpack(path)  # checks all of them
    if EXPORT not in files:
        raise SearchError(f"{path}: this bundle has no {EXPORT}, which tells a model's result")
    return zipfile.Path(path, EXPORT), _written(files.get(SAMPLES, b""))


def _written(content: bytes) -> dict[str, str]:
    texts = read_samples(content[:MOST_BYTES].decode("utf-8", "replace"))
    return {plain_line(prompt): plain_text(text) for prompt, text in texts.items()}


def _entrant(path: Path, export: Export, written: Mapping[str, str], link: Template) -> Entrant:
    table, claimed, recipe = export.table, export.claim, export.recipe
    if not math.isfinite(claimed.val_bpb):
        raise SearchError(f"{path}: `val_bpb` is {claimed.val_bpb}, but must be a number")
    parameters = table.get("parameters")
    parameters = parameters if isinstance(parameters, Mapping) else {}
    study, configuration = (str(table.get(key, path.stem)) for key in ("study", "configuration"))
    horizon = [f"the first part of a run of {recipe.horizon}"] if recipe.horizon else []
    return Entrant(
        study=plain_line(study),
        configuration=plain_line(configuration),
        settings=plain_line(describe(parameters)),
        source=plain_line(source_name(recipe.data.source)),
        ground=Ground(
            text=plain_line(str(claimed.provenance.get("text_sha256", f"{UNKNOWN}{path}"))),
            protocol=plain_line(str(claimed.provenance.get("evaluation", PROTOCOL))),
            context=None if "context" in parameters else recipe.configuration.model.context,
            budget_seconds=parse_duration(recipe.budget),
            hardware=plain_line(claimed.machine.label) if claimed.machine else "",
        ),
        mean_bpb=claimed.val_bpb,
        seeds=len(claimed.seeds),
        noise=claimed.noise,
        baseline=configuration.startswith("baseline "),
        confirmed_on=_day(path, table["result"]),
        remarks=(*horizon, f"from {plain_line(path.name)}"),
        generations=written,
        link=link.fill({"study": study, "configuration": configuration, "file": str(path)}),
    )


def _day(path: Path, result: Mapping[str, Any]) -> date | None:
    told = result.get("confirmed_on")
    try:
        return None if told is None else date.fromisoformat(str(told))
    except ValueError:
        raise SearchError(f"{path}: `confirmed_on` is {told!r}, but must be a day such as 2026-01-31") from None
