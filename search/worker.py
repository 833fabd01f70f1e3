"""A worker: claims a trial, trains it, reports and tells, until the study has nothing left for it."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch

from model.corpus import prepare
from model.errors import DeviceMemoryError, DivergedError, StoppedError
from model.train import Result, train
from search import paths
from search.errors import SearchError, SpaceExhaustedError
from search.preparation import tokenizers
from search.promotion import promote, waits_by_hand
from search.run import Run, run_label
from search.spending import Purse
from search.stop import StopRequest
from search.study import LinkedStudy, agree
from storage.claims import Claim, Heartbeat, Outcome, TrialQueue

T = TypeVar("T")
POLL_SECONDS = 1.0
MOST_ERRORS = 3
CAUSES: dict[type[BaseException], str] = {
    StoppedError: "interrupted",
    KeyboardInterrupt: "interrupted",
    DivergedError: "diverged",
    DeviceMemoryError: "infeasible",
    SpaceExhaustedError: "exhausted",
}


@dataclass
class Worker:
    """One process on one device. `say` prints a line for people; `trainer` is called as `model.train.train` is."""

    study: LinkedStudy
    name: str
    device: torch.device
    stop: StopRequest
    say: Callable[[str], None]
    trainer: Callable[..., Result] = train
    _errors: int = field(default=0, init=False)
    _purse: Purse = field(init=False)

    def __post_init__(self) -> None:
        self._purse = Purse(self.study, self.name)

    def run(self) -> None:
        """Work until everything is done or stopping is asked for.

        Raises `DataError` before anything is claimed where the text can't be had here, and `SearchError` where
        it isn't the study's or after errors in a row: a machine that fails must not use up the study's trials.
        """
        self._agree_on_text()
        waiting = False
        while not self.stop():
            queue, claim = self._claim()
            if isinstance(claim, Claim):
                waiting = False
                self._retrying(partial(self._purse.note, claim))
                self._attempt(queue, claim)
            elif claim is Outcome.DONE:
                self.say("nothing left to do")
                return
            elif claim is Outcome.REFUSED or self._retrying(self._purse.exhausted):
                self.say(self._purse.reason)
                return
            else:
                if not waiting:
                    self.say("waiting for trials that other workers are training")
                waiting = True
                self.stop.wait(POLL_SECONDS)

    def _agree_on_text(self) -> None:
        """Prepare the text, which must be the same bytes on every machine for their BPB to be comparable."""
        plan = self.study.plan
        first = tokenizers(plan)[0]  # one that the study trains with: another may not even fit the text
        sha256 = prepare(plan.data, first, paths.cache()).text_sha256
        agreed = self._retrying(lambda: agree(self.study, "text_sha256", sha256))
        if agreed != sha256:
            raise SearchError(
                f"the text of {plan.data.source} is not the study's: sha-256 {sha256[:9]}… here, {agreed[:9]}… there. "
                "Bring the same files (for built-in text: the same Python version), or start another study."
            )

    def _claim(self) -> tuple[TrialQueue, Claim | Outcome]:
        """Proxies come first, but for what was promoted by hand; the rest of a worker's time goes to confirmations."""
        proxies, confirmations = self.study.proxy_queue, self.study.confirm_queue
        short, long = (self._purse.allows(fidelity) for fidelity in (self.study.plan.proxy, self.study.plan.confirm))
        if self._retrying(lambda: waits_by_hand(self.study)):
            wanted = self._retrying(lambda: confirmations.claim(self.name, None, "by_hand", long))
            if isinstance(wanted, Claim):
                return confirmations, wanted
        first = self._retrying(lambda: proxies.claim(self.name, self.study.plan.proxy.trials, "", short))
        if isinstance(first, Claim) or first is Outcome.REFUSED:
            return proxies, first
        self._retrying(lambda: promote(self.study))
        second = self._retrying(lambda: confirmations.claim(self.name, None, "", long))
        if isinstance(second, Claim) or second is Outcome.REFUSED:
            return confirmations, second
        return confirmations, Outcome.WAIT if Outcome.WAIT in (first, second) else Outcome.DONE

    def _retrying(self, call: Callable[[], T]) -> T:
        """Call the database, through its absences: a claim whose answer is lost goes stale and is reaped."""
        return self.study.database.retrying(call)

    def _attempt(self, queue: TrialQueue, claim: Claim) -> None:
        """Train one claimed trial; whatever happens to it is recorded."""
        proxy = queue is self.study.proxy_queue
        optuna_study = self.study.proxies if proxy else self.study.confirmations
        beat = self.study.plan.workers.heartbeat_seconds
        try:
            with Heartbeat(queue, claim.trial_id, interval_seconds=beat) as heart:
                run = Run(self, optuna_study, queue, claim, proxy, heart)
                run.train()
            self._errors = 0
        except tuple(CAUSES) as error:
            cause = CAUSES[type(error)]
            self._fail(queue, claim, cause, str(error))
            self.say(f"{run_label(proxy, claim.number)}: {cause}: {error}")
        except Exception as error:
            self._errors += 1
            self._fail(queue, claim, "error", traceback.format_exc())
            self.say(f"{run_label(proxy, claim.number)}: error: {error}\n{traceback.format_exc()}")
            if self._errors >= MOST_ERRORS:
                raise SearchError(f"stopped after {MOST_ERRORS} errors in a row; the last: {error}") from error

    def _fail(self, queue: TrialQueue, claim: Claim, cause: str, detail: str) -> None:
        self._retrying(lambda: queue.fail(claim.trial_id, cause, detail))
