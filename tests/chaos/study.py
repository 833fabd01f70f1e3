"""The study that chaos is made of, and how it is watched."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from search.study.identity import confirm_name
from search.study.plan import Plan
from storage.server.database import parse_url

NAME = "chaos"
BUDGET_SECONDS = 36
TEXT = """
[data]
source = "builtin"
holdout_period = 16
holdout_rows = 1
[tokenizer]
vocab_size = 512
sample_bytes = 300_000
[space]
max_lr = {{ low = 1e-4, high = 1e-1, log = true }}
batch_size = {{ choices = [2, 4, 8, 16] }}
n_layer = {{ low = 1, high = 4 }}
[proxy]
report_bytes = 262144
budget = "36s"
trials = {trials}
[confirm]
budget = "{confirm}"
top = {top}
random = 1
widen = 1
seeds = 1.5
[pruner]
controls = 0.05
[workers]
heartbeat_seconds = {heartbeat}
grace_seconds = {grace}
[baselines.by-hand]
max_lr = 3e-3
batch_size = 8
n_layer = 2
"""


def plan(*, trials: int, grace_seconds: float, confirm: str = "72s", top: int = 6) -> Plan:
    """Return a study of so many proxies of `BUDGET_SECONDS`, which stand for minutes: who waits for work waits less."""
    heartbeat = grace_seconds / 6
    text = TEXT.format(trials=trials, grace=grace_seconds, heartbeat=heartbeat, confirm=confirm, top=top)
    return Plan.parse(text, name=NAME, origin="the chaos test")


@dataclass(frozen=True, kw_only=True)
class Glance:
    """Where the study stands."""

    ended: int
    """Slots of proxies whose trial has ended, and confirmation runs."""
    running: int
    lost: int
    busy: frozenset[str]
    """Workers that have a trial."""


COUNT = sa.text(
    """
    SELECT t.state::text,
           EXISTS (SELECT FROM trial_user_attributes a WHERE a.trial_id = t.trial_id
                   AND a.key = 'failure' AND a.value_json IN ('"lost"', '"interrupted"')) AS lost,
           (SELECT a.value_json FROM trial_user_attributes a WHERE a.trial_id = t.trial_id AND a.key = 'worker') AS who
    FROM trials t JOIN studies s USING (study_id) WHERE s.study_name IN :names
    """
).bindparams(sa.bindparam("names", expanding=True))


class Watcher:
    """Looks at the study past everything that is ours; what can't be seen now is seen later."""

    def __init__(self, url: str) -> None:
        options = {"connect_timeout": 3, "application_name": "chaos watcher"}
        self._engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool, connect_args=options)

    def glance(self) -> Glance | None:
        """Return where the study stands, or None while the server is away."""
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(COUNT, {"names": [NAME, confirm_name(NAME)]}).all()
        except sa.exc.OperationalError:
            return None
        return _glance([tuple(row) for row in rows])


def _glance(rows: Sequence[tuple[str, bool, str | None]]) -> Glance:
    lost = sum(lost and state == "FAIL" for state, lost, _ in rows)
    ended = sum(state in ("COMPLETE", "PRUNED", "FAIL") for state, _, _ in rows) - lost
    busy = frozenset((who or "").strip('"') for state, _, who in rows if state == "RUNNING")
    return Glance(ended=ended, running=sum(s == "RUNNING" for s, _, _ in rows), lost=lost, busy=busy)
