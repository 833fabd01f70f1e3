"""One run of the table: trained by `model.train` in counted seconds, with 20 reports."""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from model.data.corpus import prepare
from model.errors import DivergedError
from model.training.result import Report, Result
from model.training.train import EVERY_FIVE, train
from search.retrain.recipe import run_recipe
from search.study.plan import Configuration, Plan
from search.study.space import Params
from tests.benchmarks.proxies import CACHE, CountedClock, Job, Setup, step_seconds

DIGITS = 5
"""Of a BPB in the table: a hundredth of the noise from seed to seed."""


def plan_of(setup: Setup) -> Plan:
    """Return the table's study, on this text."""
    plan = Plan.parse(Path(setup.study).read_text(), name="table", origin=setup.study)
    return replace(plan, data=replace(plan.data, source=setup.text))


def run(setup: Setup, job: Job, params: Params) -> dict[str, Any]:
    """Train once; returns the job with its curves, up to where it failed if it did."""
    reports: list[Report] = []

    def keep(report: Report) -> bool:
        reports.append(report)
        return True

    began, found = time.process_time(), {**asdict(job), "params": params}
    plan = plan_of(setup)
    try:
        seconds = setup.long_seconds * job.percent / 100
        result = trained(setup, plan, plan.configuration(params), seconds, job.seed, keep)
        found["n_params"] = result.n_params
    except DivergedError as error:
        found |= {"failed": type(error).__name__, "why": str(error)}
    found |= {"bpb": [_rounded(r.val_bpb) for r in reports], "train_bpb": [_rounded(r.train_bpb) for r in reports]}
    return found | {"steps": [r.steps for r in reports], "cpu_seconds": round(time.process_time() - began, 1)}


def trained(
    setup: Setup, plan: Plan, configuration: Configuration, seconds: float, seed: int, on_report: Any
) -> Result:
    """Train for so many counted seconds, on one thread and not compiled."""
    torch.set_num_threads(1)
    counted = CountedClock(step_seconds(setup, configuration))
    corpus = prepare(plan.data, configuration.tokenizer, CACHE)
    return train(
        configuration.model,
        replace(configuration.train, compile="off"),
        corpus,
        budget_seconds=seconds,
        seed=seed,
        report_points=EVERY_FIVE,
        report_bytes=int(corpus.validation.text_bytes.sum()),
        device=torch.device("cpu"),
        clock=counted,
        on_report=on_report,
        should_stop=counted.tick,
    )


def recipe(setup: Setup) -> Params:
    """Return the searched values that `lilm-search recipe` ends with, in counted seconds."""
    plan = plan_of(setup)

    def trainer(configuration: Configuration, seconds: float, *, measuring: bool = False) -> Result:
        return trained(setup, plan, configuration, seconds, 0, lambda report: True)

    chosen = run_recipe(plan, setup.long_seconds, trainer, print).configuration
    settings = {**chosen.tokenizer.table(), **chosen.model.table(), **chosen.train.table()}
    return {name: settings[name] for name in plan.space.parameters}


def _rounded(bpb: float | None) -> float | None:
    return None if bpb is None else round(bpb, DIGITS)
