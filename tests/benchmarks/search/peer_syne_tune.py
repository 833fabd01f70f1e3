"""Syne Tune as a peer of `tests.benchmarks.search`; run by a Python that has Syne Tune installed.

    python peer_syne_tune.py ASHACQR       # Syne Tune 0.16: ASHA, ASHABORE, ASHACQR, BOHB
    python peer_syne_tune.py MOBSTER       # Syne Tune 0.13, with [gpsearchers]: MOBSTER, HyperTune

The method is one of `syne_tune.optimizer.baselines` that stops trials early. It is told every twentieth of a run, and
goes on with a run until it stops it. The baseline by hand isn't told: `peers.py` trains it first.
"""

import contextlib
import datetime
import logging
import math
import random
import sys
from typing import Any

import numpy as np
from peer_loop import WORST, serve  # type: ignore[import-not-found]

with contextlib.redirect_stdout(sys.stderr):  # 0.13 says there what else could be installed
    import syne_tune.config_space as spaces  # type: ignore[import-not-found]
    from syne_tune.backend.trial_status import Trial  # type: ignore[import-not-found]
    from syne_tune.optimizer import baselines  # type: ignore[import-not-found]

STEP = 5
"""Percent of a long run between reports."""


def domain(entry: dict[str, Any]) -> Any:
    """Return Syne Tune's domain of a searched setting; numbers in a list are ordered."""
    values = entry.get("choices")
    if values is not None:
        ordered = not any(isinstance(value, str) for value in values)
        return spaces.ordinal(values, kind="equal") if ordered else spaces.choice(values)
    low, high = entry["low"], entry["high"]
    if isinstance(low, float):
        return spaces.loguniform(low, high) if entry.get("log") else spaces.uniform(low, high)
    step = entry.get("step", 1)
    return spaces.randint(low, high) if step == 1 else spaces.ordinal(list(range(low, high + 1, step)), kind="equal")


class Search:
    """One search, asked and told."""

    def __init__(self, method: str, space: dict[str, Any], baseline: dict[str, Any], seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)
        domains = {name: domain(entry) for name, entry in space.items()}
        self.names = list(domains)
        options = {"metric": "bpb", "random_seed": seed}
        options |= {"max_t": 100 // STEP, "grace_period": 1}
        if hasattr(baselines, "MOBSTER"):  # 0.13 and earlier: the last step is read from the space
            options |= {"resource_attr": "step", "mode": "min", "search_options": {"debug_log": False}}
        else:
            options |= {"time_attr": "step"}
        self.scheduler = getattr(baselines, method)(domains, **options)
        self.trials: dict[int, Trial] = {}
        self.steps: dict[int, int] = {}
        self.next: int | None = None
        """The run that its worker goes on with: a worker asks right after it told."""

    def ask(self) -> dict[str, Any]:
        """Return the run that Syne Tune wants next."""
        number, self.next = (self._begin() if self.next is None else self.next), None
        step = self.steps[number]
        before = f"{number}/{step}" if step else None
        self.steps[number] += 1
        params = {name: self.trials[number].config[name] for name in self.names}
        params = {name: value.item() if hasattr(value, "item") else value for name, value in params.items()}
        return {"id": f"{number}/{step + 1}", "params": params, "percent": (step + 1) * STEP, "previous": before}

    def _begin(self) -> int:
        number = len(self.trials)
        old = hasattr(baselines, "MOBSTER")
        suggestion = self.scheduler.suggest(number) if old else self.scheduler.suggest()
        self.trials[number] = Trial(number, suggestion.config, datetime.datetime.now())
        self.steps[number] = 0
        self.scheduler.on_trial_add(self.trials[number])
        return number

    def tell(self, identity: str, params: dict[str, Any], bpb: float | None) -> None:
        """Tell a run's report, as that of the configuration that was trained."""
        number = int(identity.partition("/")[0])
        trial = self.trials[number]
        result = {"bpb": WORST if bpb is None else bpb, "step": self.steps[number]}
        if bpb is None or not math.isfinite(bpb):
            self.scheduler.on_trial_result(trial, result)
            self.scheduler.on_trial_remove(trial)
        elif self.steps[number] == 100 // STEP:
            self.scheduler.on_trial_complete(trial, result)
        elif self.scheduler.on_trial_result(trial, result) == "CONTINUE":
            self.next = number
        else:
            self.scheduler.on_trial_remove(trial)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    serve(Search)
