"""Whether a run is pruned: the pruner is asked at each report, and a slow answer never holds up training."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.strategy.pruner import PruningDecision
from search.strategy.study_pruner import make_pruner, may_be_pruned, race_pruner
from search.study.trials import Attributes, final_budget
from search.worker.run_context import RunContext
from storage.queue.trial_queue import Claim, TrialQueue

UNREACHABLE = PruningDecision(False, "unreachable")
"""PruningDecision if the database doesn't answer in time."""
UNJUDGED = PruningDecision(False, "unjudged")
"""PruningDecision if the pruner raises an error."""

Judge = Callable[[FrozenTrial, int], PruningDecision]
"""Judges a running trial at a report point."""


class RunPruner:
    """Asks the study's pruner about one run.

    Args:
        context: what the worker's runs share.
        study: the Optuna study of which the run is a trial.
        queue: the queue of that study.
        claim: the trial.
        proxy: whether it is a proxy trial, not a confirmation run.
        label: name of the run in messages.

    """

    def __init__(
        self, context: RunContext, study: optuna.Study, queue: TrialQueue, claim: Claim, proxy: bool, label: str
    ) -> None:
        self._context, self._optuna_study, self._queue = context, study, queue
        self._claim, self._proxy, self._label = claim, proxy, label
        self._plan = context.study.plan
        self._pruner = context.retrying(lambda: make_pruner(context.study))
        self._late: Future[PruningDecision] | None = None
        self.decision: PruningDecision | None = None
        """The latest decision; None if there was none."""

    def goes_on(self, percent: int, attributes: Mapping[str, Any], reports: Mapping[int, float]) -> bool:
        """Return whether the run goes on after the report at this percent, the last of these.

        Waits a short while for the database; until a decision comes training goes on. One to prune that comes later
        counts at the next report, as if it had come in time; another does if the next report gets none in time.
        """
        judge = None if percent == 100 or self._plan.is_grid else self._judge()
        answer = None
        if judge is not None:
            answer = self._context.outbox.ask(partial(judge, self._running_trial(attributes, reports), percent))
        self._context.outbox.wait_patiently(self._context.patience_seconds)
        if answer is not None:
            in_time, late = self._result(answer), self._result(self._late) if self._late else None
            self.decision = late if late and late.prune else in_time or late or UNREACHABLE
            self._late = None if in_time else answer
        return self.decision is None or not self.decision.prune

    def _result(self, answer: Future[PruningDecision]) -> PruningDecision | None:
        """Return the decision if it has come; an error of the pruner is no reason to end a run."""
        try:
            return answer.result() if answer.done() else None
        except Exception as error:
            self._context.say(f"{self._label}: not judged: {type(error).__name__}: {error}")
            return UNJUDGED

    def _judge(self) -> Judge | None:
        """Return the judge of this run; None if it is never pruned."""
        if Attributes(self._claim.user_attrs).baseline is not None:
            self.decision = PruningDecision(False, "baseline")
        elif self._proxy:
            return self._judge_proxy
        elif self._plan.confirm.prune and may_be_pruned(self._plan, self._claim.user_attrs):
            return self._judge_confirmation
        return None

    def _running_trial(self, attributes: Mapping[str, Any], reports: Mapping[int, float]) -> FrozenTrial:
        """Return the trial from what this worker has measured, which spares the database a question."""
        trial = create_trial(state=TrialState.RUNNING, user_attrs=dict(attributes), intermediate_values=dict(reports))
        trial.number = self._claim.number
        return trial

    def _judge_proxy(self, trial: FrozenTrial, percent: int) -> PruningDecision:
        return self._pruner.judge(self._optuna_study, trial, self._queue.trial_view.with_reports)

    def _judge_confirmation(self, trial: FrozenTrial, percent: int) -> PruningDecision:
        """Judge by the runs of the long budget: the curves of rungs and proxies have other horizons."""
        alike = [t for t in self._context.study.confirm_trials() if final_budget(self._plan, t)]
        return race_pruner(self._plan).judge_among(alike, trial, percent)
