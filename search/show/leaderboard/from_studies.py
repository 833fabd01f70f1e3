"""Entrants from a database: the confirmed configurations of its studies."""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial

from model.config import PROTOCOL
from model.formats.sample_text import read_samples
from search.analysis.snapshot import Snapshot, read
from search.common.errors import SearchError
from search.common.safe_text import plain_line, plain_text
from search.show.leaderboard.boards import UNKNOWN, Conditions, Entrant
from search.show.leaderboard.links import LinkTemplate
from search.show.wording import describe
from search.study.artifacts import artifact_files, study_artifacts
from search.study.identity import study_names
from search.study.results import Confirmed, ended_on
from search.study.scores import scores_of
from search.study.study import LinkedStudy, load_study
from search.study.study_file import source_name
from search.study.trials import BUDGET_SCALE, attributes_of
from storage.errors import StorageError, first_line
from storage.server.database import Database

MOST_BYTES = 1 << 20
"""Bytes that are read at most of a file with samples; ours have a few kilobytes."""

ATTRIBUTE_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Errors from attributes that someone else wrote into a study, which must not hide the other studies."""


def study_entrants(
    snapshot: Snapshot,
    *,
    study_id: int,
    hardware: str,
    signs: Mapping[int, datetime],
    samples: Mapping[int, Mapping[str, str]],
    link: LinkTemplate,
) -> list[Entrant]:
    """Return a study's confirmed configurations; `samples` are its long runs' generated texts, by run number.

    `signs` are the trials' last signs of life, by trial id.
    """
    name = plain_line(snapshot.plan.name)
    running = any(not t.state.is_finished() for t in (*snapshot.proxies, *snapshot.runs))
    entrants = []
    for c in snapshot.confirmed:
        link_values = {
            "study": snapshot.plan.name,
            "study_id": study_id,
            "configuration": c.label,
            "trial": c.proxy_number,
        }
        entrants.append(
            Entrant(
                study=name,
                configuration=plain_line(c.label),
                settings=plain_line(describe(c.params)),
                source=plain_line(source_name(snapshot.plan.data.source)),
                conditions=_conditions(snapshot, c, hardware),
                mean_bpb=c.mean_bpb,
                seeds=c.seeds,
                noise=snapshot.noise,
                estimate=snapshot.estimates[c.key],
                baseline=c.baseline is not None,
                failed=c.failed,
                n_params=attributes_of(c.runs[0]).n_params,
                n_active_params=attributes_of(c.runs[0]).n_active_params,
                confirmed_on=ended_on(c.runs, signs),
                running=running,
                remarks=_remarks(c),
                pairs=scores_of(c.runs),
                generations=_best_generations(c.runs, samples),
                link=link.fill(link_values),
            )
        )
    return entrants


def _conditions(snapshot: Snapshot, confirmed: Confirmed, hardware: str) -> Conditions:
    plan, provenance = snapshot.plan, attributes_of(confirmed.runs[0]).provenance
    varied = set(plan.space.parameters).union(*plan.baselines.values())
    return Conditions(
        text=plain_line(str(provenance.get("text_sha256", f"{UNKNOWN}{plan.name}"))),
        protocol=plain_line(str(provenance.get("evaluation", PROTOCOL))),
        context=None if "context" in varied else plan.model.context,
        budget_seconds=plan.confirm.budget_seconds,
        hardware=plain_line(hardware),
    )


def _remarks(confirmed: Confirmed) -> tuple[str, ...]:
    scales = sorted({r.user_attrs[BUDGET_SCALE] for r in confirmed.runs if BUDGET_SCALE in r.user_attrs})
    return (f"budget × {', '.join(f'{s:.2f}' for s in scales)} on other hardware",) if scales else ()


def _best_generations(runs: Sequence[FrozenTrial], samples: Mapping[int, Mapping[str, str]]) -> dict[str, str]:
    """Return the generated texts of the best run that has any."""
    for run in sorted(runs, key=lambda r: (r.value or 0.0, r.number)):
        if texts := samples.get(run.number):
            return {plain_line(prompt): plain_text(text) for prompt, text in texts.items()}
    return {}


def entrants_from_database(
    database: Database, wanted: Sequence[str] | None, link: LinkTemplate, *, prompts: bool
) -> tuple[list[Entrant], list[str]]:
    """Return the confirmed models of these studies (None: of all), and notes on the studies left out."""
    all_entrants, notes = list[Entrant](), list[str]()
    for name in wanted or sorted_names(database):
        try:
            entrants = linked_study_entrants(load_study(database, name), link, prompts=prompts)
        except (SearchError, *ATTRIBUTE_ERRORS) as error:
            if wanted:
                raise
            notes.append(f"{name} is left out: {first_line(error)}")
            continue
        all_entrants += entrants
        if not entrants:
            notes.append(f"{name} is left out: nothing in it is confirmed yet, and proxies aren't ranked")
    return all_entrants, notes


def linked_study_entrants(study: LinkedStudy, link: LinkTemplate, *, prompts: bool) -> list[Entrant]:
    """Return a study's confirmed models; with `prompts`, their generated texts too."""
    snapshot = read(study)
    return study_entrants(
        snapshot,
        study_id=study.proxies._study_id,
        hardware=snapshot.pinned.label if snapshot.pinned else "",
        signs=snapshot.last_signs,
        samples=_samples(study, snapshot.confirmed) if prompts else {},
        link=link,
    )


def sorted_names(database: Database) -> list[str]:
    """Return the names of all our studies, sorted."""
    return sorted(study_names(database))


def _samples(study: LinkedStudy, configurations: Sequence[Confirmed]) -> dict[int, dict[str, str]]:
    """Return the long runs' generated texts by run number; files that can't be read are left out."""
    wanted = {(f"samples-{run.number}.txt", run.number) for c in configurations for run in c.runs}
    written: dict[int, dict[str, str]] = {}
    for file in artifact_files(study.confirmations):
        if file.trial is not None and (file.filename, file.trial) in wanted:
            with contextlib.suppress(ArtifactNotFound, StorageError, OSError):
                source = study_artifacts(study).open_reader(file.artifact_id)
                written[file.trial] = read_samples(source.read(MOST_BYTES).decode("utf-8", "replace"))
    return written
