"""What may be shown to anybody: no folder, bucket, host or password of those who ran the study."""

import re
from collections.abc import Sequence
from dataclasses import replace

from optuna.trial import FrozenTrial

from search.analysis.caveats import Caveat
from search.analysis.snapshot import Snapshot
from search.analysis.worker_timeline import called
from search.study.plan import Plan
from search.study.study_file import source_name
from search.study.trials import attributes_of
from storage.redaction import redact
from storage.registry.workers import Entry

BUCKET = "s3://a-bucket"


def settled_file(plan: Plan) -> str:
    """Return the settled study file without folders and buckets."""
    data = replace(plan.data, source=source_name(plan.data.source))
    workers = replace(plan.workers, artifacts=BUCKET) if plan.workers.artifacts else plan.workers
    return redact(replace(plan, data=data, workers=workers).toml())


def caveats_shown(facts: Snapshot) -> list[Caveat]:
    """Return the caveats with workers called by their number."""
    return unnamed(facts.caveats, facts.workers, (*facts.proxies, *facts.runs))


def unnamed(found: Sequence[Caveat], workers: Sequence[Entry], trials: Sequence[FrozenTrial]) -> list[Caveat]:
    """Return caveats with workers called by their number: their names hold hosts' names."""
    names = called(workers, trials)
    hosts = {str(attributes_of(t).provenance.get("host", "")) for t in trials}
    others = sorted({*hosts, *(e.machine for e in workers)} - {""} - names.keys(), key=len, reverse=True)
    ordered = sorted(names, key=len, reverse=True)
    known = [(_alone(name), names[name]) for name in ordered] + [(_alone(host), "a worker") for host in others]
    return [Caveat(c.name, redact(_renamed(c.sentence, known))) if c.name == "hardware" else c for c in found]


def _alone(name: str) -> "re.Pattern[str]":
    """Match the name, with "worker" before it or not, but not within another word."""
    return re.compile(rf"(?:\bworker )?(?<![\w-]){re.escape(name)}(?![\w-])")


def _renamed(text: str, known: "Sequence[tuple[re.Pattern[str], str]]") -> str:
    for pattern, name in known:
        text = pattern.sub(name, text)
    return text
