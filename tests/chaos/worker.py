"""One worker process, real but for its training, and perhaps for its clock."""

import datetime
import os
import sys
import time
import traceback
from dataclasses import dataclass
from datetime import datetime as RealDatetime
from pathlib import Path
from typing import Any

import optuna
import torch

from model.training.self_test import SelfTest
from search.common.signals import StopRequest
from search.study.study import load_study
from search.worker.worker import Worker
from storage.errors import UnreachableError
from storage.server.database import connect
from tests.chaos.simulated import MACHINE, Simulated

DONE, FAILED, UNREACHABLE = 0, 1, 75


@dataclass(frozen=True, kw_only=True)
class Post:
    """A worker's post: its study, its way to it, its machine's folder, and its clock."""

    study: str
    url: str
    home: Path
    scale: float
    name: str = ""
    clock_off_seconds: float = 0.0


def work(post: Post) -> None:
    """Work until nothing is left; ends the process, with `UNREACHABLE` where no server answered at the start."""
    os.environ["LILM_SEARCH_HOME"] = str(post.home)
    with (post.home / "log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if post.clock_off_seconds:
        shift_clock(post.clock_off_seconds)
    try:
        _work(post)
    except UnreachableError as error:
        print(error)
        os._exit(UNREACHABLE)
    except BaseException:
        traceback.print_exc()
        sys.stdout.flush()
        os._exit(FAILED)
    sys.stdout.flush()
    os._exit(DONE)


def _work(post: Post) -> None:
    database = connect(post.url, application_name=f"lilm-search {post.name}")
    study = database.retrying(lambda: load_study(database, post.study), give_up_seconds=60)
    stop = StopRequest()
    stop.install()

    def say(line: str) -> None:
        print(f"{time.time():.2f} {post.name} {line}")

    trainer = Simulated(post.scale)
    Worker(
        study,
        post.name,
        torch.device("cpu"),
        stop,
        say,
        trainer,
        detect_hardware=lambda device, compiled: MACHINE,
        self_test=lambda device, compiled: SelfTest(),
    ).run()
    database.close()


def shift_clock(seconds: float) -> None:
    """Put this process's wall clock off by so much, for Python and for all that has taken its `datetime`."""
    off, real_time = datetime.timedelta(seconds=seconds), time.time

    class AnyDatetime(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, RealDatetime)

    class Shifted(RealDatetime, metaclass=AnyDatetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return RealDatetime.now(tz) + off

        @classmethod
        def utcnow(cls) -> Any:
            return RealDatetime.now(datetime.UTC).replace(tzinfo=None) + off

    time.time = lambda: real_time() + seconds
    for module in list(sys.modules.values()):
        for name, value in list(vars(module).items()) if module else []:
            if value is RealDatetime and name != "RealDatetime":
                setattr(module, name, Shifted)
