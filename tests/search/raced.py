"""Whole studies in a real database whose trials are claimed and finished as workers do, but trained by a formula."""

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from search.common.durations import parse_duration
from search.strategy.promotion import manual_run_waits, promote
from search.strategy.sampler import ensure_parameters
from search.study.plan import Plan
from search.study.study import LinkedStudy
from search.study.trials import trial_params
from storage.queue.trial_queue import Claim, TrialQueue

TEXT = """
[data]
source = "builtin"
[space]
max_lr = {{ low = 1e-4, high = 1e-1, log = true }}
batch_size = {{ choices = [8, 16, 32, 64] }}
[proxy]
budget = "6m"
trials = 12
sampler = "random"
{proxy}
[confirm]
budget = "30m"
{confirm}
[cost]
usd_per_gpu_hour = 0.5
[pruner]
{pruner}
[baselines.by-hand]
max_lr = {baseline}
batch_size = 8
"""

Formula = Callable[[float], float]


def plan(confirm: str = "", *, baseline: float = 0.1, name: str = "made", proxy: str = "", pruner: str = "") -> Plan:
    """A study of 12 proxies with one baseline, at this learning rate."""
    text = TEXT.format(confirm=confirm, baseline=baseline, proxy=proxy, pruner=pruner)
    return Plan.parse(text, name=name, origin="a test")


def place(params: Mapping[str, Any]) -> float:
    """Where the learning rate lies in its range, 0 to 1 on a log scale; the batch size breaks ties."""
    return math.log10(float(params["max_lr"]) / 1e-4) / 3 + float(params["batch_size"]) / 1e6


@dataclass
class Trainer:
    """A worker whose training is a formula: what a proxy and a long run measure at a place in the space."""

    study: LinkedStudy
    proxy: Formula
    long: Formula
    noise: float = 0.001
    name: str = "one"

    def run(self) -> None:
        """Work until nothing is left, as `search.worker.worker` does."""
        while self.step():
            pass

    def step(self) -> bool:
        """Claim one trial, or queue what is due; returns whether there was any."""
        claimed = self.claim()
        if claimed:
            self.train(*claimed)
        return claimed is not None

    def claim(self) -> tuple[TrialQueue, Claim] | None:
        """Claim as a worker does: runs promoted by hand, early long runs, proxies, the race."""
        proxies, long = self.study.proxy_queue, self.study.confirm_queue
        if manual_run_waits(self.study) and isinstance(wanted := long.claim(self.name, None), Claim):
            return long, wanted
        if self.study.plan.confirm.after:
            promote(self.study)
            if isinstance(early := long.claim(self.name, None), Claim):
                return long, early
        if isinstance(first := proxies.claim(self.name, self.study.plan.proxy.trials), Claim):
            return proxies, first
        promote(self.study)
        second = long.claim(self.name, None)
        return (long, second) if isinstance(second, Claim) else None

    def params(self, queue: TrialQueue, claim: Claim) -> dict[str, Any]:
        """Return the trial's parameters, drawn as a worker does."""
        short = queue is self.study.proxy_queue
        if short:
            ensure_parameters(self.study, claim.trial_id)
        trial = Trial(self.study.proxies if short else self.study.confirmations, claim.trial_id)
        given = trial_params(self.study.database.storage.get_trial(claim.trial_id))
        params = self.study.plan.suggest(trial, given)
        return self.study.plan.scaled(params, claim.user_attrs.get("lr_scale", 1.0))

    def train(self, queue: TrialQueue, claim: Claim) -> None:
        """Finish the trial with the formula's value; a confirmation run also stores how long it took."""
        at = place(self.params(queue, claim))
        if queue is self.study.proxy_queue:
            queue.finish(claim.trial_id, TrialState.COMPLETE, self.proxy(at))
            return
        storage = self.study.database.storage
        seconds = parse_duration(claim.user_attrs["budget"])
        storage.set_trial_user_attr(claim.trial_id, "total_seconds", seconds)
        luck = math.sin(claim.user_attrs["seed"] * 12.9898 + at * 78.233)
        queue.finish(claim.trial_id, TrialState.COMPLETE, self.long(at) + self.noise * luck)


def run_key(run: FrozenTrial) -> tuple[Any, ...]:
    """Attributes that distinguish one confirmation run from all others."""
    return tuple(run.user_attrs.get(key) for key in ("baseline", "confirms", "seed", "budget", "lr_scale"))


def kinds(study: LinkedStudy) -> set[str]:
    """The ways in which configurations entered the race."""
    return {run.user_attrs["kind"] for run in study.confirm_trials()}


def in_threads(work: Callable[[int], None], count: int = 6) -> None:
    """Call the function in so many threads at once, each with its index, and wait for all."""
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
