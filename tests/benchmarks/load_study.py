"""The study that the load benchmark is run on, with trials that have ended before it starts."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.plan import Plan
from search.study.study import open_study
from storage.server.database import connect, parse_url
from tests.benchmarks.load_clients import NAME
from tests.chaos.server import Server
from tests.chaos.simulated import loss

BUDGET_SECONDS = 360.0
REPORTS = 20
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
n_layer = {{ low = 2, high = 32 }}
n_head = {{ low = 2, high = 8 }}
head_dim = {{ low = 32, high = 64, step = 16 }}
batch_size = {{ choices = [8, 16, 32, 64, 128] }}
mlp_ratio = {{ low = 2.0, high = 6.0 }}
weight_decay = {{ low = 0.01, high = 0.5, log = true }}
beta2 = {{ low = 0.9, high = 0.99 }}
[proxy]
report_bytes = 262144
budget = "6m"
trials = 100_000
[confirm]
budget = "30m"
[workers]
heartbeat_seconds = {heartbeat}
grace_seconds = {grace}
"""

KINDS = (
    *(models.TrialModel, models.TrialValueModel, models.TrialIntermediateValueModel),
    *(models.TrialParamModel, models.TrialUserAttributeModel),
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is measured."""

    workers: Sequence[int]
    trial_seconds: float
    """Real seconds of a 6-minute trial."""
    window_seconds: float
    """Of measuring, once every worker has had a trial's time to get going."""
    finished: int
    """Trials in the study beforehand."""

    @property
    def scale(self) -> float:
        """Real seconds for each second of a training budget."""
        return self.trial_seconds / BUDGET_SECONDS

    @property
    def plan(self) -> Plan:
        """The study; signs of life are scaled as trials are, so that each trial gives as many as in reality."""
        text = TEXT.format(heartbeat=10 * self.scale, grace=max(60 * self.scale, 30.0))
        return Plan.parse(text, name=NAME, origin="the benchmark")


def finished_trials(plan: Plan, count: int, *, ours: bool) -> list[FrozenTrial]:
    """Return ended trials, two of five pruned on their way; ours have the attributes that a worker writes."""
    draw = random.Random(0)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = []
    for number in range(count):
        asked = study.ask()
        configuration = plan.configuration(plan.space.suggest(asked, plan.fixed()))
        pruned = draw.random() < 0.4
        last = draw.choice(range(25, 80, 5)) if pruned else 100
        steps = [p for p in plan.report_points() if p <= last]
        shown = {p: loss(configuration.model, configuration.train, 0, BUDGET_SECONDS, p) for p in steps}
        found.append(
            create_trial(
                state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
                value=shown[last],
                params=asked.params,
                distributions=asked.distributions,
                intermediate_values=shown,
                user_attrs=_attrs(number) if ours else {},
            )
        )
    return found


def _attrs(number: int) -> dict[str, Any]:
    """Return attributes like those that `search.worker.trial_run` writes."""
    names = ("n_params", "steps", "tokens", "tokens_per_second", "micro_batch")
    seconds = ("train", "startup", "compile", "evaluate", "total")
    told = {"worker": f"w{number % 64}", "control": False, "pruner": "promising", "best_as_bad": 0.3, "proof": 0.9}
    provenance = {"python": "3", "torch": "2", "device": "simulated", "precision": "bfloat16", "host": "a machine"}
    counts = {**dict.fromkeys(names, 1000), **dict.fromkeys((f"{s}_seconds" for s in seconds), 1.0)}
    return {**told, **counts, "mfu": 0.3, "mode": "compiled", "provenance": provenance}


def prepare_study(postgres: Server, options: Options, kind: str, name: str) -> str:
    """Create a database with the study in it; returns its URL."""
    server_url = postgres.ensure_running()
    engine = sa.create_engine(parse_url(server_url), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    url = (
        parse_url(server_url).set(drivername="postgresql+psycopg2", database=name).render_as_string(hide_password=False)
    )
    trials = finished_trials(options.plan, options.finished, ours=kind == "ours")
    if kind == "ours":
        database = connect(url)
        study_id = open_study(database, options.plan).proxies._study_id
        database.close()
    else:
        study = optuna.create_study(study_name=NAME, storage=url, direction="minimize")
        study.set_user_attr("plan", options.plan.toml())
        study_id = study._study_id
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        add_ended(connection, study_id, trials)
    with engine.connect() as connection:
        connection.execute(sa.text("CHECKPOINT"))
    return url


def add_ended(connection: sa.Connection, study_id: int, trials: Sequence[FrozenTrial]) -> None:
    """Add trials to an empty study, all at once: one by one takes Optuna minutes."""
    rows: dict[type[models.BaseModel], list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for number, t in enumerate(trials):
        of = {"trial_id": 1000 + number}
        times = {"datetime_start": t.datetime_start, "datetime_complete": t.datetime_complete}
        rows[models.TrialModel].append({**of, "number": number, "study_id": study_id, "state": t.state, **times})
        rows[models.TrialValueModel].append({**of, "objective": 0, "value": t.value, "value_type": "FINITE"})
        rows[models.TrialIntermediateValueModel] += [
            {**of, "step": step, "intermediate_value": value, "intermediate_value_type": "FINITE"}
            for step, value in t.intermediate_values.items()
        ]
        for name, distribution in t.distributions.items():
            value = distribution.to_internal_repr(t.params[name])
            told = {"param_value": value, "distribution_json": distribution_to_json(distribution)}
            rows[models.TrialParamModel].append({**of, "param_name": name, **told})
        attrs = [{**of, "key": key, "value_json": json.dumps(value)} for key, value in t.user_attrs.items()]
        rows[models.TrialUserAttributeModel] += attrs
    for kind, of_kind in rows.items():
        if of_kind:
            connection.execute(sa.insert(kind.__table__), of_kind)
    connection.execute(sa.text("SELECT setval('trials_trial_id_seq', :last)"), {"last": 1000 + len(trials)})
