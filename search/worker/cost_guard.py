"""A limit in hours or dollars, asked by a worker before each claim, so that the fleet together stays below it."""

from collections.abc import Callable, Mapping
from typing import Any

from search.common.durations import parse_duration
from search.study.cost import bill, registry_of, run_usd, stored_cap
from search.study.settings import Fidelity
from search.study.study import LinkedStudy
from search.study.trials import BUDGET_SCALE, CLAIMED_AT, Attributes
from storage.queue.trial_queue import Claim


class Purse:
    """One worker's view of the cap: whether it may take a trial, and why it may not."""

    def __init__(self, study: LinkedStudy, worker: str) -> None:
        self.reason = ""
        self.budget_scale = 1.0
        self._study, self._worker = study, worker
        self._registry = registry_of(study)

    def measured(self, reference: float, budget_scale: float) -> None:
        """Take in what the reference step showed: how fast the machine is, and how much longer its budgets are."""
        self.budget_scale = budget_scale
        self._registry.measured(self._worker, reference)

    def allows(self, fidelity: Fidelity) -> Callable[[Mapping[str, Any]], bool]:
        """Return the condition under which a queue of this fidelity gives this worker a trial.

        It is asked under the lock that both queues share, so that no two workers take the last dollars.
        """
        return lambda attrs: self._fits(fidelity, parse_duration(Attributes(attrs).budget or fidelity.budget))

    def exhausted(self) -> bool:
        """Return whether not even the shortest run fits any more: waiting for one would only cost."""
        plan = self._study.plan
        return not self._fits(min(plan.proxy, plan.confirm, key=lambda f: f.budget_seconds), None)

    def note(self, claim: Claim) -> None:
        """Record when a trial was claimed; until then all of its budget counts as still to come."""
        if stored_cap(self._study):
            storage = self._study.database.storage
            storage.set_trial_user_attr(claim.trial_id, CLAIMED_AT, self._registry.now())
            if self.budget_scale != 1:
                storage.set_trial_user_attr(claim.trial_id, BUDGET_SCALE, self.budget_scale)

    def _fits(self, fidelity: Fidelity, seconds: float | None) -> bool:
        cap = stored_cap(self._study)
        if not cap:
            return True
        entries = self._registry.entries()
        price = next((e.usd_per_hour for e in entries if e.name == self._worker), None)
        plan = self._study.plan
        trials = self._study.proxy_trials() if fidelity is plan.proxy else self._study.confirm_trials()
        usd = run_usd(
            trials,
            self.budget_scale * (fidelity.budget_seconds if seconds is None else seconds),
            plan.cost.usd_per_gpu_hour if price is None else price,
        )
        now = bill(self._study, entries, cap)
        if not now.fits(usd):
            self.reason = now.refusal(plan.name, usd)
        return now.fits(usd)
