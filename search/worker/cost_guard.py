"""The study's limits, checked by each worker before each claim, so that all of them together stay below them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from search.common.durations import parse_duration
from search.study.cost import affordable_runs, bill, registry_of, run_usd, stored_cap
from search.study.settings import Fidelity
from search.study.study import LinkedStudy
from search.study.trials import BUDGET_SCALE, CLAIMED_AT, Attributes
from storage.queue.trial_queue import Claim


def room_for_proxy(study: LinkedStudy, proxies: Sequence[FrozenTrial]) -> bool:
    """Return whether hours and dollars of [proxy] allow a further proxy beside these; a whole run must fit.

    The queue checks it under its lock, so that no two workers take the last minutes.
    """
    return affordable_runs(study, study.plan.proxy, proxies) != 0


class CostGuard:
    """Decides whether one worker may take a trial under the study's cost cap."""

    def __init__(self, study: LinkedStudy, worker: str) -> None:
        self.reason = ""
        """Why the last trial was refused, as a sentence."""
        self.budget_scale = 1.0
        self._study, self._worker = study, worker
        self._registry = registry_of(study)

    def record_speed(self, reference: float, budget_scale: float) -> None:
        """Record the reference step's throughput, in tokens per second, and the factor on this worker's budgets."""
        self.budget_scale = budget_scale
        self._registry.measured(self._worker, reference)

    def permit(self, fidelity: Fidelity) -> Callable[[Mapping[str, Any]], bool]:
        """Return the condition under which a queue of this fidelity gives this worker a trial.

        The queue checks it under the lock that both queues share, so that no two workers take the last dollars.
        """
        return lambda attrs: self._fits(fidelity, parse_duration(Attributes(attrs).budget or fidelity.budget))

    def exhausted(self) -> bool:
        """Return whether not even the shortest run fits any more, so that waiting for one would only cost."""
        plan = self._study.plan
        return not self._fits(min(plan.proxy, plan.confirm, key=lambda f: f.budget_seconds), None)

    def record_claim(self, claim: Claim) -> None:
        """Record when a trial was claimed; until then its whole budget counts as still to be spent."""
        plan = self._study.plan
        if stored_cap(self._study) or plan.proxy.limited or plan.confirm.limited:
            storage = self._study.database.storage
            storage.set_trial_user_attr(claim.trial_id, CLAIMED_AT, self._registry.now())
            if self.budget_scale != 1:
                storage.set_trial_user_attr(claim.trial_id, BUDGET_SCALE, self.budget_scale)

    def _fits(self, fidelity: Fidelity, seconds: float | None) -> bool:
        cap = stored_cap(self._study)
        if not cap:
            return True
        workers = self._registry.workers()
        price = next((w.usd_per_hour for w in workers if w.name == self._worker), None)
        plan = self._study.plan
        trials = self._study.proxy_trials() if fidelity is plan.proxy else self._study.confirm_trials()
        usd = run_usd(
            trials,
            self.budget_scale * (fidelity.budget_seconds if seconds is None else seconds),
            plan.cost.usd_per_gpu_hour if price is None else price,
        )
        costs = bill(self._study, workers, cap)
        if not costs.fits(usd):
            self.reason = costs.refusal(plan.name, usd)
        return costs.fits(usd)
