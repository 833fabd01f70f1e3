"""Who is on the leaderboard: every confirmed configuration of the studies of a database."""

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
from search.show.leaderboard.boards import UNKNOWN, Entrant, Ground
from search.show.leaderboard.links import Template
from search.show.wording import describe
from search.study.artifacts import artifact_files, study_artifacts
from search.study.identity import study_names
from search.study.results import Confirmed, ended_on
from search.study.study import LinkedStudy, load_study
from search.study.study_file import source_name
from search.study.trials import BUDGET_SCALE, attributes_of
from storage.errors import StorageError, first_line
from storage.server.database import Database

MOST_BYTES = 1 << 20
"""Of a file with samples; ours are a few kilobytes."""

UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What comes of attributes that no worker of ours wrote: one study's are no reason to show none of the others."""


def of_study(
    facts: Snapshot,
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
    for c in facts.confirmed:
        where = {"study": facts.plan.name, "study_id": study_id, "configuration": c.label, "trial": c.proxy_number}
        found.append(
            Entrant(
                study=name,
                configuration=plain_line(c.label),
                settings=plain_line(describe(c.params)),
                source=plain_line(source_name(facts.plan.data.source)),
                ground=_ground(facts, c, hardware),
                mean_bpb=c.mean_bpb,
                seeds=c.seeds,
                noise=facts.noise,
                baseline=c.baseline is not None,
                failed=c.failed,
                n_params=attributes_of(c.runs[0]).n_params,
                confirmed_on=ended_on(c.runs, signs),
                going=going,
                remarks=_remarks(c),
                generations=_written(c.runs, samples),
                link=link.fill(where),
            )
        )
    return found


def _ground(facts: Snapshot, confirmed: Confirmed, hardware: str) -> Ground:
    plan, known = facts.plan, attributes_of(confirmed.runs[0]).provenance
    return Ground(
        text=plain_line(str(known.get("text_sha256", f"{UNKNOWN}{plan.name}"))),
        protocol=plain_line(str(known.get("evaluation", PROTOCOL))),
        context=None if "context" in plan.space.parameters else plan.model.context,
        budget_seconds=plan.confirm.budget_seconds,
        hardware=plain_line(hardware),
    )


def _remarks(confirmed: Confirmed) -> tuple[str, ...]:
    scales = sorted({r.user_attrs[BUDGET_SCALE] for r in confirmed.runs if BUDGET_SCALE in r.user_attrs})
    return (f"budget × {', '.join(f'{s:.2f}' for s in scales)} on other hardware",) if scales else ()


def _written(runs: Sequence[FrozenTrial], samples: Mapping[int, Mapping[str, str]]) -> dict[str, str]:
    """Return what the best run wrote, or the next best where it left nothing."""
    for run in sorted(runs, key=lambda r: (r.value or 0.0, r.number)):
        if texts := samples.get(run.number):
            return {plain_line(prompt): plain_text(text) for prompt, text in texts.items()}
    return {}


def of_database(
    database: Database, wanted: Sequence[str] | None, link: Template, *, prompts: bool
) -> tuple[list[Entrant], list[str]]:
    """Return the confirmed models of these studies (None: of all), and what is to be said of those without any."""
    found, said = list[Entrant](), list[str]()
    for name in wanted or all_names(database):
        try:
            entrants = of_linked(load_study(database, name), link, prompts=prompts)
        except (SearchError, *UNREADABLE) as error:
            if wanted:
                raise
            said.append(f"{name} is left out: {first_line(error)}")
            continue
        found += entrants
        if not entrants:
            said.append(f"{name} is left out: nothing in it is confirmed yet, and proxies aren't ranked")
    return found, said


def of_linked(study: LinkedStudy, link: Template, *, prompts: bool) -> list[Entrant]:
    """Return a study's confirmed models, with what they wrote where that is asked for."""
    facts = read(study)
    return of_study(
        facts,
        study_id=study.proxies._study_id,
        hardware=facts.pinned.label if facts.pinned else "",
        signs=facts.last_signs,
        samples=_samples(study, facts.confirmed) if prompts else {},
        link=link,
    )


def all_names(database: Database) -> list[str]:
    """Return the names of all studies of ours, by name."""
    return sorted(study_names(database))


def _samples(study: LinkedStudy, found: Sequence[Confirmed]) -> dict[int, dict[str, str]]:
    """Return what the long runs wrote; a file that can't be had is no reason to show no board."""
    wanted = {(f"samples-{run.number}.txt", run.number) for c in found for run in c.runs}
    written: dict[int, dict[str, str]] = {}
    for file in artifact_files(study.confirmations):
        if file.trial is not None and (file.filename, file.trial) in wanted:
            with contextlib.suppress(ArtifactNotFound, StorageError, OSError):
                source = study_artifacts(study).open_reader(file.artifact_id)
                written[file.trial] = read_samples(source.read(MOST_BYTES).decode("utf-8", "replace"))
    return written
