"""A worker: claims a trial, trains it, reports and tells, until the study has nothing left for it."""

import contextlib
import random
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch
from optuna.artifacts._protocol import ArtifactStore
from optuna.exceptions import UpdateFinishedTrialError

from model.errors import DeviceMemoryError, DivergedError, StoppedError
from model.training.result import Result
from model.training.train import train
from search.common import paths
from search.common.errors import SearchError, SpaceExhaustedError
from search.common.signals import StopRequest
from search.machine.admission import admit
from search.machine.hardware import Machine, look
from search.machine.preparation import tokenizers
from search.machine.shared_text import agree_on_text, shared_corpus
from search.show.dashboard.sync import update_dashboard
from search.strategy.promotion import manual_run_waits, promote
from search.study.artifacts import study_artifacts
from search.study.study import LinkedStudy
from search.study.trials import BY_HAND, run_label
from search.worker.cost_guard import Purse
from search.worker.shutdown import Farewell
from search.worker.trial_files import LastLines, keep_trace
from search.worker.trial_run import Run, RunContext
from storage.errors import GoneError, LoginError, UnreachableError
from storage.outbox.messages import deliver_leftovers
from storage.outbox.outbox import Outbox
from storage.queue.heartbeat import Heartbeat, Reaper
from storage.queue.trial_queue import Claim, Outcome, TrialQueue
from storage.server.database import refusal

T = TypeVar("T")
POLL_SECONDS = 1.0
MOST_ERRORS = 3
MOST_REAP_SECONDS = 15.0
MOST_OUTAGE_SECONDS = 900.0
CAUSES: dict[type[BaseException], str] = {
    StoppedError: "interrupted",
    KeyboardInterrupt: "interrupted",
    DivergedError: "diverged",
    DeviceMemoryError: "out_of_memory",
    SpaceExhaustedError: "exhausted",
}


def waiting_seconds(budget_seconds: float) -> float:
    """Return how long a worker without a trial waits at most: each asks dozens of questions, some under one lock."""
    return min(10.0, max(POLL_SECONDS, budget_seconds / 36))


@dataclass
class Worker:
    """One process on one device. `say` prints a line for people; `trainer` is called as `train` is."""

    study: LinkedStudy
    name: str
    device: torch.device
    stop: StopRequest
    say: Callable[[str], None]
    trainer: Callable[..., Result] = train
    patience_seconds: float = 2.0
    """How long a run waits, off the clock, for the database at a report."""
    store: ArtifactStore | None = None
    """Where machines share files."""
    moment_seconds: float = 3.0
    """How long it has to stop by itself before its trial is handed back over its head."""
    last_seconds: float = 12.0
    """How long after that, for what it wrote to be delivered, before it is left."""
    leave: Callable[[], None] | None = None
    """Ends the process where it must stop and the main thread can't be reached."""
    look: Callable[[torch.device], Machine] = look
    """Finds out what the device is, and how fast."""
    machine: Machine | None = field(default=None, init=False)
    """What it runs on, with the throughput of the reference step; known once it runs."""
    budget_scale: float = field(default=1.0, init=False)
    outbox: Outbox = field(init=False)
    _training: tuple[TrialQueue, Claim] | None = field(default=None, init=False)
    _errors: int = field(default=0, init=False)
    _purse: Purse = field(init=False)

    def __post_init__(self) -> None:
        self._purse = Purse(self.study, self.name)
        self.say = self._said = LastLines(self.say)

    def run(self) -> None:
        """Work until everything is done or stopping is asked for.

        Raises `DataError` before anything is claimed where the text can't be had here, and `SearchError` where
        hardware or text isn't the study's or after errors in a row: a machine that fails must not use up the
        study's trials.
        """
        self.store = self.store or study_artifacts(self.study)  # which refuses what can't be had here
        queues = self.study.queues
        database, folder = self.study.database, paths.outbox(self.study.folder)
        every = min(MOST_REAP_SECONDS, self.study.plan.workers.grace_seconds / 4)
        self.outbox = Outbox(database, self.name, folder, self.say)
        with (
            contextlib.suppress(StoppedError),
            self.outbox,
            self._farewell(),
            Reaper(queues, database.forget_session, interval_seconds=every),
        ):
            deliver_leftovers(database, queues, folder, self.say)
            self._agree_on_hardware()
            self._agree_on_text()
            self._work()

    def _farewell(self) -> Farewell:
        seconds = {"moment_seconds": self.moment_seconds, "last_seconds": self.last_seconds}
        return Farewell(self.stop, self._hand_back, self.leave, **seconds)

    def _work(self) -> None:
        waiting = False
        while not self.stop():
            queue, claim = self._claim()
            if isinstance(claim, Claim):
                waiting = False
                self._attempt(queue, claim)
            elif claim is Outcome.DONE:
                update_dashboard(self.study, self.say, self.retrying)
                self.say("nothing left to do")
                return
            elif claim is Outcome.REFUSED or self.retrying(self._purse.exhausted):
                self.say(self._purse.reason)
                return
            else:
                if not waiting:
                    self.say("waiting for trials that other workers are training")
                waiting = True
                self.stop.wait(random.uniform(0.5, 1) * waiting_seconds(self.study.plan.proxy.budget_seconds))

    def _agree_on_hardware(self) -> None:
        """Time the reference step, and find out on what terms this machine works for the study."""
        here = self.machine = self.look(self.device)
        admission = self.retrying(lambda: admit(self.study, here))
        self.budget_scale = admission.budget_scale
        self.retrying(lambda: self._purse.measured(here.reference_tokens_per_second, self.budget_scale))
        self.say(f"{here.label}, reference step {here.speed}")
        if admission.said:
            self.say(f"note: {admission.said}")

    def _agree_on_text(self) -> None:
        """Prepare the text, which must be the same bytes on every machine for their BPB to be comparable."""
        agree_on_text(self.study)
        first = tokenizers(self.study.plan)[0]  # one that the study trains with: another may not even fit the text
        with contextlib.suppress(StoppedError):
            shared_corpus(self.study, first, self.stop)

    def _claim(self) -> tuple[TrialQueue, Claim | Outcome]:
        """Proxies come first, but for what was promoted by hand; the rest of a worker's time goes to confirmations."""
        proxies, confirmations = self.study.proxy_queue, self.study.confirm_queue
        short, long = (self._purse.allows(fidelity) for fidelity in (self.study.plan.proxy, self.study.plan.confirm))
        if self.retrying(lambda: manual_run_waits(self.study)):
            wanted = self.retrying(lambda: confirmations.claim(self.name, None, BY_HAND, long))
            if isinstance(wanted, Claim):
                return confirmations, wanted
        first = self.retrying(lambda: proxies.claim(self.name, self.study.plan.proxy.trials, "", short))
        if isinstance(first, Claim) or first is Outcome.REFUSED:
            return proxies, first
        self.retrying(lambda: promote(self.study))
        second = self.retrying(lambda: confirmations.claim(self.name, None, "", long))
        if isinstance(second, Claim) or second is Outcome.REFUSED:
            return confirmations, second
        # The last runs may have ended between the two calls, and made others due.
        if Outcome.WAIT in (first, second) or self.retrying(lambda: promote(self.study)):
            return confirmations, Outcome.WAIT
        return confirmations, Outcome.DONE

    def retrying(self, call: Callable[[], T]) -> T:
        """Call the database, through its absences: a claim whose answer is lost goes stale and is reaped.

        Raises `StoppedError` where stopping is asked for meanwhile.
        """
        return self.study.database.retrying(call, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise StoppedError("stopped while the database was away")

    def delivered(self) -> bool:
        """Wait until the database has what was written; returns False where stopping is asked for before.

        Raises `UnreachableError` where it stays away.
        """
        started = time.monotonic()
        while not self.outbox.wait(POLL_SECONDS):
            if self.outbox.refused:
                raise self.outbox.refused
            if self.stop():
                return False
            if time.monotonic() - started > MOST_OUTAGE_SECONDS:
                raise UnreachableError(
                    f"the database has not answered for {MOST_OUTAGE_SECONDS:.0f} s; results are kept"
                )
        return True

    def _attempt(self, queue: TrialQueue, claim: Claim) -> None:
        """Train one claimed trial; whatever happens to it is recorded."""
        self._training = queue, claim
        proxy = queue is self.study.proxy_queue
        optuna_study = self.study.proxies if proxy else self.study.confirmations
        heart = Heartbeat(queue, claim.trial_id, interval_seconds=self.study.plan.workers.heartbeat_seconds)
        run: Run | None = None
        try:
            with heart:
                self.retrying(partial(self._purse.note, claim))
                run = Run(self._context(), optuna_study, queue, claim, proxy, heart)
                run.train()
            self._errors = 0
        except (UnreachableError, LoginError, GoneError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(gone := refusal(error), GoneError):
                raise gone from None
            if self.outbox.refused:
                raise self.outbox.refused from None
            if run is not None and run.told:
                return self.say(f"note: {run.label} is counted, but what follows it was cut short: {error}")
            if heart.lost or self.outbox.lost(claim.trial_id) or isinstance(error, UpdateFinishedTrialError):
                return self.say(f"{run_label(proxy, claim.number)}: taken over by another worker")
            self._record(queue, claim, error)
        finally:
            self._training = None
        return None

    def _context(self) -> RunContext:
        return RunContext(
            study=self.study,
            device=self.device,
            machine=self.machine,
            budget_scale=self.budget_scale,
            trainer=self.trainer,
            store=self.store,
            outbox=self.outbox,
            stop=self.stop,
            say=self.say,
            last_lines=lambda: list(self._said.lines),
            retrying=self.retrying,
            delivered=self.delivered,
            patience_seconds=self.patience_seconds,
        )

    def _record(self, queue: TrialQueue, claim: Claim, error: BaseException) -> None:
        """Record the cause of a failure; raises `SearchError` after errors in a row."""
        label = run_label(queue is self.study.proxy_queue, claim.number)
        cause = next((cause for kind, cause in CAUSES.items() if isinstance(error, kind)), "error")
        detail = traceback.format_exc() if cause == "error" else str(error)
        self.outbox.fail(queue, claim.trial_id, cause, detail)
        self.say(f"{label}: {cause}: {error}" + (f"\n{detail}" if cause == "error" else ""))
        self.delivered()
        if cause == "error":
            part = self.study.proxies if queue is self.study.proxy_queue else self.study.confirmations
            keep_trace(self.study, part, claim, detail, self._said)
        self._errors = self._errors + 1 if cause == "error" else self._errors
        if self._errors >= MOST_ERRORS:
            raise SearchError(f"stopped after {MOST_ERRORS} errors in a row; the last: {error}") from error

    def _hand_back(self) -> None:
        """Hand back what the main thread is at, which is told so when it comes to write the end."""
        training = self._training
        if training is not None:
            self.outbox.fail(*(training[0], training[1].trial_id), "interrupted", "handed back before it had stopped")
