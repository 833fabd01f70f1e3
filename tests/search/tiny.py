"""A study of seconds, and what the tests that run it share."""

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState

from search.study.study import LinkedStudy
from tests.forking.client import OURS, Forked

TRIALS = 7
NETWORK = """
[tokenizer]
vocab_size = 512
sample_bytes = 300_000
[model]
context = 32
n_layer = 1
n_head = 1
"""
"""Tokenizer and network, made in a second."""
PLAN = f"""
description = "a study of seconds"
[data]
source = "builtin"
holdout_period = 50
holdout_rows = 1{NETWORK}[space]
max_lr = {{ low = 1e-3, high = 3e-2, log = true }}
head_dim = {{ low = 8, high = 16, step = 8 }}
batch_size = {{ choices = [4, 8] }}
[proxy]
trials = {TRIALS}
budget = "1s"
report_every = 20
report_bytes = 3000
startup = 4
[confirm]
budget = "2s"
top = 1
random = 0
widen = 0
seeds = 2
[pruner]
min_trials = 4
[workers]
heartbeat_seconds = 0.5
grace_seconds = 3.0
[baselines.by-hand]
max_lr = 1e-2
head_dim = 16
batch_size = 4
"""
BRIEF = PLAN.replace('budget = "1s"', 'budget = "0.5s"').replace('budget = "2s"', 'budget = "1s"')
"""The same in half of the time, where no test waits for the middle of a run or compares losses."""


def proxies(study: LinkedStudy) -> list[FrozenTrial]:
    return study.proxies.get_trials()


def assert_exact(study: LinkedStudy, lost: int) -> None:
    """Exactly the asked proxies finished; each lost one has one successor with its parameters; all is confirmed."""
    trials = proxies(study)
    ended = Counter(t.state for t in trials)
    assert ended[TrialState.COMPLETE] + ended[TrialState.PRUNED] == TRIALS
    assert ended[TrialState.FAIL] == lost == len(trials) - TRIALS
    for trial in trials:
        successors = [t for t in trials if t.user_attrs.get("retries") == trial.number]
        assert len(successors) == (trial.state == TrialState.FAIL)
        assert all(s.params.items() >= trial.params.items() for s in successors)
    runs = [t for t in study.confirm_trials() if t.state == TrialState.COMPLETE]
    (promoted,) = {r.user_attrs["confirms"] for r in runs if "confirms" in r.user_attrs}
    wanted = Counter({("by-hand", None): 2, (None, promoted): 2})
    every = [(t.number, t.state.name, t.value, t.user_attrs) for t in study.confirm_trials()]
    assert Counter((t.user_attrs.get("baseline"), t.user_attrs.get("confirms")) for t in runs) == wanted, every


def spawn_worker(url: str, home: Path) -> "subprocess.Popen[str]":
    command = [*OURS, "worker", "--study", "tiny", "--threads", "1"]
    env = {**os.environ, "LILM_SEARCH_STORAGE": url, "LILM_SEARCH_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    return Forked(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd="/")


def wait_for(worker: "subprocess.Popen[str]", text: str) -> None:
    assert worker.stdout is not None
    for line in worker.stdout:
        if text in line:
            return
    pytest.fail(f"the worker ended before it said {text!r}")
