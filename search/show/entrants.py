"""Who is on the leaderboard: every confirmed configuration of a study, and models that came as files."""

import contextlib
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial

from model.evaluate import PROTOCOL
from model.sample import read_samples
from search.artifacts import files, study_artifacts
from search.console import describe
from search.duration import parse_duration
from search.errors import SearchError
from search.export import Place, read_recipe, read_table
from search.machine import pinned_machine
from search.results import Confirmed, ended_on
from search.show.facts import Facts, read
from search.show.leaderboard import Entrant, Ground, source_name
from search.show.links import Template
from search.show.plain import plain_line, plain_text
from search.study import LinkedStudy, confirm_name, load_study
from search.verify import read_claim
from storage.database import Database
from storage.errors import StorageError
from storage.silence import last_signs

MOST_BYTES = 1 << 20
"""Of a file with samples or of an export in a bundle; ours are a few kilobytes."""
SAMPLES = "samples*.txt"


def of_study(
    facts: Facts,
    *,
    study_id: int,
    hardware: str,
    signs: Mapping[int, datetime],
    samples: Mapping[int, Mapping[str, str]],
    link: Template,
) -> list[Entrant]:
    """Return a study's confirmed configurations; `samples` are what its long runs wrote, by their numbers."""
    name = plain_line(facts.plan.name)
    going = any(not t.state.is_finished() for t in (*facts.proxies, *facts.runs))
    found = []
    for c in facts.found:
        where = {"study": facts.plan.name, "study_id": study_id, "configuration": c.label, "trial": c.proxy_number}
        found.append(
            Entrant(
                study=name,
                configuration=plain_line(c.label),
                settings=plain_line(describe(c.params)),
                source=plain_line(source_name(facts.plan.data.source)),
                ground=_ground(facts, c, hardware),
                mean_bpb=c.mean_bpb,
                seeds=len(c.bpb_by_seed),
                noise=facts.noise,
                baseline=c.baseline is not None,
                failed=c.failed,
                n_params=c.runs[0].user_attrs.get("n_params"),
                confirmed_on=ended_on(c.runs, signs),
                going=going,
                remarks=_remarks(c),
                generations=_written(c.runs, samples),
                link=link.fill(where),
            )
        )
    return found


def _ground(facts: Facts, confirmed: Confirmed, hardware: str) -> Ground:
    plan, known = facts.plan, confirmed.runs[0].user_attrs.get("provenance", {})
    return Ground(
        text=plain_line(str(known.get("text_sha256", f"unknown, of {plan.name}"))),
        protocol=plain_line(str(known.get("evaluation", PROTOCOL))),
        context=None if "context" in plan.space.parameters else plan.model.context,
        budget_seconds=plan.confirm.budget_seconds,
        hardware=plain_line(hardware),
    )


def _remarks(confirmed: Confirmed) -> tuple[str, ...]:
    scales = sorted({r.user_attrs["budget_scale"] for r in confirmed.runs if "budget_scale" in r.user_attrs})
    return (f"budget × {', '.join(f'{s:.2f}' for s in scales)} on other hardware",) if scales else ()


def _written(runs: Sequence[FrozenTrial], samples: Mapping[int, Mapping[str, str]]) -> dict[str, str]:
    """Return what the best run wrote, or the next best where it left nothing."""
    for run in sorted(runs, key=lambda r: (r.value or 0.0, r.number)):
        if texts := samples.get(run.number):
            return {plain_line(prompt): plain_text(text) for prompt, text in texts.items()}
    return {}


def of_database(
    database: Database, names: Sequence[str] | None, link: Template, *, prompts: bool
) -> tuple[list[Entrant], list[str]]:
    """Return the confirmed models of these studies (None: of all), and what is to be said of those without any."""
    found, said = list[Entrant](), list[str]()
    for name in names or all_names(database):
        try:
            study = load_study(database, name)
        except SearchError as error:
            if names:
                raise
            said.append(f"{name} is left out: {error}")
            continue
        entrants = of_linked(study, link, prompts=prompts)
        found += entrants
        if not entrants:
            said.append(f"{name} is left out: nothing in it is confirmed yet, and proxies aren't ranked")
    return found, said


def of_linked(study: LinkedStudy, link: Template, *, prompts: bool) -> list[Entrant]:
    """Return a study's confirmed models, with what they wrote where that is asked for."""
    facts, pinned = read(study), pinned_machine(study)
    return of_study(
        facts,
        study_id=study.proxies._study_id,
        hardware=pinned.label if pinned else "",
        signs=last_signs(study.database.engine, study.confirmations._study_id),
        samples=_samples(study, facts.found) if prompts else {},
        link=link,
    )


def all_names(database: Database) -> list[str]:
    """Return the names of all studies of ours, by name."""
    names = set(optuna.get_all_study_names(database.storage))
    return sorted(name for name in names if confirm_name(name) in names)


def _samples(study: LinkedStudy, found: Sequence[Confirmed]) -> dict[int, dict[str, str]]:
    """Return what the long runs wrote; a file that can't be had is no reason to show no board."""
    wanted = {(f"samples-{run.number}.txt", run.number) for c in found for run in c.runs}
    written: dict[int, dict[str, str]] = {}
    for file in files(study.confirmations):
        if file.trial is not None and (file.filename, file.trial) in wanted:
            with contextlib.suppress(ArtifactNotFound, StorageError, OSError):
                source = study_artifacts(study).open_reader(file.artifact_id)
                written[file.trial] = read_samples(source.read(MOST_BYTES).decode("utf-8", "replace"))
    return written


def of_file(path: Path, link: Template) -> Entrant:
    """Return the model of an export, or of a bundle with an export in it; raises `SearchError`."""
    try:
        place, written = _opened(path)
        return _of_export(path, place, written, link)
    except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:  # RuntimeError: encrypted, or an unknown method
        raise SearchError(f"{path}: this bundle can't be read: {error}") from None


def _of_export(path: Path, place: Place, written: Mapping[str, str], link: Template) -> Entrant:
    table, claimed, recipe = read_table(place), read_claim(place), read_recipe(place)
    result, parameters = table["result"], table.get("parameters", {})
    if not math.isfinite(claimed.val_bpb):
        raise SearchError(f"{path}: `val_bpb` is {claimed.val_bpb}, but must be a number")
    study, configuration = (str(table.get(key, path.stem)) for key in ("study", "configuration"))
    horizon = [f"the first part of a run of {recipe.horizon}"] if recipe.horizon else []
    return Entrant(
        study=plain_line(study),
        configuration=plain_line(configuration),
        settings=plain_line(describe(parameters)) if isinstance(parameters, Mapping) else "",
        source=plain_line(source_name(recipe.data.source)),
        ground=Ground(
            text=plain_line(str(claimed.provenance.get("text_sha256", f"unknown, of {path}"))),
            protocol=plain_line(str(claimed.provenance.get("evaluation", PROTOCOL))),
            context=None if "context" in parameters else recipe.configuration.model.context,
            budget_seconds=parse_duration(recipe.budget),
            hardware=plain_line(claimed.machine.label) if claimed.machine else "",
        ),
        mean_bpb=claimed.val_bpb,
        seeds=len(claimed.seeds),
        noise=claimed.noise,
        baseline=configuration.startswith("baseline "),
        confirmed_on=_day(path, result),
        remarks=(*horizon, f"from {plain_line(path.name)}"),
        generations={plain_line(prompt): plain_text(text) for prompt, text in written.items()},
        link=link.fill({"study": study, "configuration": configuration, "file": str(path)}),
    )


def _day(path: Path, result: Mapping[str, Any]) -> date | None:
    told = result.get("confirmed_on")
    try:
        return None if told is None else date.fromisoformat(str(told))
    except ValueError:
        raise SearchError(f"{path}: `confirmed_on` is {told!r}, but must be a day such as 2026-01-31") from None


def _opened(path: Path) -> tuple[Place, dict[str, str]]:
    """Return where the export is, in a bundle or by itself, and what the model writes where a bundle tells."""
    if not zipfile.is_zipfile(path):
        return path, {}
    bundle = zipfile.Path(path)
    large = [i.filename for i in bundle.root.infolist() if _is_read(i.filename) and i.file_size > MOST_BYTES]
    if large:
        raise SearchError(f"{path}: {large[0]} in it is larger than {MOST_BYTES:,} bytes: not a bundle of lilm-search")
    if not (bundle / "export.toml").is_file():
        raise SearchError(f"{path}: not a bundle of lilm-search (it has no export.toml)")
    texts = sorted(p.name for p in bundle.iterdir() if Path(p.name).match(SAMPLES))
    written = read_samples((bundle / texts[0]).read_bytes().decode("utf-8", "replace")) if texts else {}
    return bundle / "export.toml", written


def _is_read(name: str) -> bool:
    return name == "export.toml" or Path(name).match(SAMPLES)
