"""Leaving in time, with a main thread that ends by itself, can be interrupted, or hears nothing."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.common.signals import StopRequest
from search.study.plan import Plan
from search.study.study import open_study
from search.worker.shutdown import Shutdown
from storage.server.database import Database
from tests.search.worker.test_outages import ONE_PROXY

SECONDS = 120.0


def test_who_ends_in_a_moment_is_left_alone() -> None:
    stop, called = StopRequest(), threading.Event()
    with Shutdown(stop, called.set, called.set, stop_seconds=SECONDS) as shutdown:
        stop.ask()
    shutdown._thread.join(SECONDS)
    assert not shutdown._thread.is_alive()
    assert not called.is_set()


def test_nothing_happens_where_nobody_asks() -> None:
    called = threading.Event()
    with Shutdown(StopRequest(), called.set, called.set, stop_seconds=0, delivery_seconds=0) as shutdown:
        pass
    shutdown._thread.join(SECONDS)
    assert not called.is_set()


def test_the_trial_goes_first_and_the_process_last() -> None:
    stop, gone = StopRequest(), threading.Event()
    order: list[str] = []

    def leave() -> None:
        order.append("left")
        gone.set()

    with Shutdown(stop, lambda: order.append("handed back"), leave, stop_seconds=0, delivery_seconds=0):
        stop.ask()
        assert gone.wait(SECONDS)
    assert order == ["handed back", "left"]


BUSY = """
import ctypes, os, sys, time, warnings
from functools import partial
import torch
from search.common.signals import StopRequest
from search.study.study import load_study
from search.worker.worker import Worker
from storage.server.database import connect

def sleeping(*args, **more):  # a signal's handler runs in between
    print("busy", flush=True)
    time.sleep(1000)

def deaf(*args, **more):  # a wait in C that no signal ends, as in a library's compiler
    mutex, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    libc.pthread_mutex_lock(mutex)
    print("busy", flush=True)
    libc.pthread_mutex_lock(mutex)

warnings.simplefilter("ignore")
stop = StopRequest()
stop.install()
study = load_study(connect(sys.argv[1]), "tiny")
leave = partial(os._exit, 130)
trainer = {"sleeping": sleeping, "deaf": deaf}[sys.argv[2]]
Worker(study, "one", torch.device("cpu"), stop, print, trainer, stop_seconds=0.2, leave=leave, delivery_seconds=1).run()
"""


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("kind", ["sleeping", "deaf"])
def test_a_busy_worker_leaves_and_its_trial_waits_for_another(
    kind: str, database: Database, database_url: str, home: Path
) -> None:
    study = open_study(database, Plan.parse(ONE_PROXY, name="tiny", origin="test"))
    command = [sys.executable, "-c", BUSY, database_url, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as worker:
        assert worker.stdout is not None
        for line in worker.stdout:
            if line == "busy\n":
                break
        worker.send_signal(signal.SIGTERM)
        output, _ = worker.communicate(timeout=SECONDS)
    assert worker.returncode == {"sleeping": 0, "deaf": 130}[kind], output
    first, again = study.proxies.get_trials()
    assert (first.state, first.user_attrs["failure"]) == (TrialState.FAIL, "interrupted")
    assert (again.state, again.user_attrs["retries"]) == (TrialState.WAITING, 0)
