"""The clients of the load benchmark: our worker, and a loop of bare Optuna, each in a process and with a stopwatch."""

import json
import os
import random
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.storages._heartbeat import get_heartbeat_thread

from model.training.result import Result
from model.training.self_test import SelfTest
from search.common.signals import StopRequest
from search.study.plan import Plan
from search.study.study import load_study
from search.worker.worker import Worker
from storage.queue.trial_queue import Claim, NoClaim, TrialQueue
from storage.server.database import connect
from tests.chaos.simulated import MACHINE, Simulated, loss

NAME = "load"
HEARTBEAT_SECONDS = 60
"""Of bare Optuna in a real study, before it is scaled."""


@dataclass(frozen=True, kw_only=True)
class Post:
    """One client: which of the two it is, where the study is, and how time is scaled."""

    kind: str
    """ours or bare."""
    number: int
    url: str
    home: Path
    scale: float
    """Real seconds for each second of a training budget."""
    most_delay_seconds: float
    """Clients start apart, or they would all report at the same moments."""


@dataclass
class Tape:
    """What took how long: lines of kind, time, wall seconds and CPU seconds of the whole process."""

    path: Path
    _open: dict[str, tuple[float, float]] = field(default_factory=dict)

    def start(self, kind: str) -> None:
        """Start the watch."""
        self._open[kind] = (time.monotonic(), time.process_time())

    def stop(self, kind: str) -> None:
        """Stop the watch, if it runs, and write the line."""
        if kind not in self._open:
            return
        wall, cpu = self._open.pop(kind)
        now, used = time.monotonic(), time.process_time()
        line = {"kind": kind, "at": now, "wall": now - wall, "cpu": used - cpu, "total_cpu": used}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


class TimedWorker(Worker):
    """Our worker; asking lasts from the claim to the first step, telling from the last step to the next claim."""

    tape: Tape

    def _claim(self) -> tuple[TrialQueue, Claim | NoClaim]:
        self.tape.stop("tell")
        self.tape.start("ask")
        return super()._claim()


def timed_trainer(tape: Tape, trainer: Simulated) -> Callable[..., Result]:
    """Return the trainer with a stopwatch; pruners are asked, and not obeyed: both kinds of client do the same work."""

    def train(*args: Any, on_report: Callable[[Any], bool], **options: Any) -> Result:
        def reported(report: Any) -> bool:
            tape.start("report")
            on_report(report)
            tape.stop("report")
            return True

        tape.stop("ask")
        result = trainer(*args, on_report=reported, **options)
        tape.start("tell")
        return result

    return train


def work(post: Post) -> None:
    """Work until killed."""
    os.environ["LILM_SEARCH_HOME"] = str(post.home)
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    tape = Tape(post.home / f"{post.kind}-{post.number}.jsonl")
    try:
        tape.start("open")
        (_ours if post.kind == "ours" else _bare)(post, tape)
    except BaseException:
        (post.home / f"{post.kind}-{post.number}.error").write_text(traceback.format_exc())
        raise


def _wait(post: Post) -> None:
    time.sleep(random.Random(post.number).uniform(0, post.most_delay_seconds))


def _ours(post: Post, tape: Tape) -> None:
    database = connect(post.url)
    study = load_study(database, NAME)
    study.proxy_trials()
    tape.stop("open")
    _wait(post)
    trainer = timed_trainer(tape, Simulated(post.scale, slice_seconds=0.5))
    device, stop = torch.device("cpu"), StopRequest()
    worker = TimedWorker(
        study,
        f"w{post.number}",
        device,
        stop,
        lambda line: None,
        trainer,
        detect_hardware=lambda device, compiled: MACHINE,
        self_test=lambda device, compiled: SelfTest(),
    )
    worker.tape = tape
    worker.run()


def _bare(post: Post, tape: Tape) -> None:
    """As `study.optimize` does for each trial, with the same sampler, and Optuna's own pruner."""
    beat = max(1, round(HEARTBEAT_SECONDS * post.scale))
    storage = RDBStorage(post.url, heartbeat_interval=beat, grace_period=20 * beat)
    sampler = optuna.samplers.TPESampler(seed=post.number, n_startup_trials=10, constant_liar=True)
    study = optuna.load_study(study_name=NAME, storage=storage, sampler=sampler, pruner=optuna.pruners.MedianPruner())
    plan = Plan.parse(str(study.user_attrs["plan"]), name=NAME, origin="the benchmark")
    study.get_trials(deepcopy=False)
    study._thread_local.in_optimize_loop = True
    tape.stop("open")
    _wait(post)
    while True:
        _bare_trial(post, tape, study, plan)


def _bare_trial(post: Post, tape: Tape, study: optuna.Study, plan: Plan) -> None:
    tape.start("ask")
    fail_stale_trials(study)
    trial = study.ask()
    configuration = plan.configuration(plan.space.suggest(trial, plan.fixed()))
    tape.stop("ask")
    seconds, started, paused, bpb = plan.proxy.budget_seconds, time.monotonic(), 0.0, 0.0
    with get_heartbeat_thread(trial._trial_id, study._storage):
        for percent in plan.report_points():
            time.sleep(max(0.0, started + paused + post.scale * seconds * percent / 100 - time.monotonic()))
            bpb = loss(configuration.model, configuration.train, 0, seconds, percent)
            before = time.monotonic()
            tape.start("report")
            trial.report(bpb, percent)
            trial.should_prune()
            tape.stop("report")
            paused += time.monotonic() - before
    tape.start("tell")
    study.tell(trial, bpb)
    tape.stop("tell")
