"""A study's file and caveats without folders, buckets, hosts and passwords, for reports that anybody may see."""

import re
from collections.abc import Sequence
from dataclasses import replace

from optuna.trial import FrozenTrial

from search.analysis.caveats import Caveat
from search.analysis.snapshot import Snapshot
from search.analysis.worker_timeline import labels_by_worker
from search.study.plan import Plan
from search.study.study_file import source_name
from search.study.trials import attributes_of
from storage.redaction import redact
from storage.registry.workers import RegisteredWorker

BUCKET = "s3://a-bucket"
"""Stands in for the address of a study's bucket."""


def anonymous_study_file(plan: Plan) -> str:
    """Return the study file with defaults filled in, without folders and buckets."""
    data = replace(plan.data, source=source_name(plan.data.source))
    workers = replace(plan.workers, artifacts=BUCKET) if plan.workers.artifacts else plan.workers
    return redact(replace(plan, data=data, workers=workers).toml())


def anonymous_caveats(snapshot: Snapshot) -> list[Caveat]:
    """Return a study's caveats with numbers in place of workers' names."""
    return with_numbered_workers(snapshot.caveats, snapshot.workers, (*snapshot.proxies, *snapshot.runs))


def with_numbered_workers(
    caveats: Sequence[Caveat], workers: Sequence[RegisteredWorker], trials: Sequence[FrozenTrial]
) -> list[Caveat]:
    """Return caveats with numbers in place of workers' names, which contain host names."""
    names = labels_by_worker(workers, trials)
    hosts = {str(attributes_of(t).provenance.get("host", "")) for t in trials}
    others = sorted({*hosts, *(e.machine for e in workers)} - {""} - names.keys(), key=len, reverse=True)
    ordered = sorted(names, key=len, reverse=True)
    replacements = [(_whole_word(name), names[name]) for name in ordered] + [
        (_whole_word(host), "a worker") for host in others
    ]
    return [Caveat(c.name, redact(_renamed(c.sentence, replacements))) if c.name == "hardware" else c for c in caveats]


def _whole_word(name: str) -> "re.Pattern[str]":
    """Return a pattern that matches the name, with or without "worker" before it, but not within another word."""
    return re.compile(rf"(?:\bworker )?(?<![\w-]){re.escape(name)}(?![\w-])")


def _renamed(text: str, replacements: "Sequence[tuple[re.Pattern[str], str]]") -> str:
    for pattern, name in replacements:
        text = pattern.sub(name, text)
    return text
