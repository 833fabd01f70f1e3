"""A worker: claims a trial, trains it and records its result, until the study has nothing left for it."""

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

from model.errors import CaptureError, DeviceMemoryError, DivergedError, StoppedError
from model.training.report_size import MOST_BYTES
from model.training.result import Result
from model.training.self_test import SelfTest, self_test
from model.training.train import train
from search.common import paths
from search.common.errors import SearchError, SpaceExhaustedError
from search.common.signals import StopRequest
from search.machine.admission import admit, is_reference_compiled, require_passed, require_precision
from search.machine.hardware import Hardware, detect_hardware
from search.machine.preparation import tokenizers
from search.machine.report_size import agree_on_report_bytes
from search.machine.shared_text import agree_on_text, shared_corpus
from search.show.dashboard.sync import update_dashboard
from search.strategy.promotion import manual_run_waits, promote
from search.study.artifacts import study_artifacts
from search.study.study import LinkedStudy
from search.study.trials import BY_HAND, run_label
from search.worker.compiled_graphs import CompiledGraphs
from search.worker.cost_guard import CostGuard, room_for_proxy
from search.worker.run_context import RunContext
from search.worker.shutdown import Shutdown
from search.worker.trial_files import LastLines, keep_trace
from search.worker.trial_run import TrialRun
from storage.errors import GoneError, LoginError, UnreachableError
from storage.outbox.messages import deliver_leftovers
from storage.outbox.outbox import Outbox
from storage.queue.heartbeat import Heartbeat, Reaper
from storage.queue.trial_queue import Claim, NoClaim, TrialQueue
from storage.server.database import refusal

T = TypeVar("T")
POLL_SECONDS = 1.0
"""Seconds between looks at whether the outbox is empty; also the shortest wait for a trial."""
MOST_ERRORS = 3
"""Errors in a row after which a worker ends."""
MOST_REAP_SECONDS = 15.0
"""Longest interval, in seconds, at which a worker takes trials from silent ones."""
MOST_OUTAGE_SECONDS = 900.0
"""Seconds without an answer of the database after which a worker ends."""
CAUSES: dict[type[BaseException], str] = {
    StoppedError: "interrupted",
    KeyboardInterrupt: "interrupted",
    DivergedError: "diverged",
    DeviceMemoryError: "out_of_memory",
    CaptureError: "lost",  # tried again, but not for ever
    SpaceExhaustedError: "exhausted",
}
"""Cause of failure that is recorded for each error; "error" for any other."""


def waiting_seconds(budget_seconds: float) -> float:
    """Return the longest wait of a worker without a trial, in seconds.

    Asking takes dozens of queries, some of them under a lock that all workers share.
    """
    return min(10.0, max(POLL_SECONDS, budget_seconds / 36))


@dataclass
class Worker:
    """One process on one device."""

    study: LinkedStudy
    name: str
    device: torch.device
    stop: StopRequest
    say: Callable[[str], None]
    """Prints a line for people."""
    trainer: Callable[..., Result] = train
    """Called as `model.training.train.train` is."""
    patience_seconds: float = 2.0
    """Seconds that a run waits, off the clock, for the database at a report."""
    store: ArtifactStore | None = None
    """Store of files that machines share; None for the study's own."""
    compiled_key: str | None = None
    """Secret with which workers sign the compiled graphs that they share; None: they share none."""
    stop_seconds: float = 3.0
    """Seconds, once asked to stop, until the trial is handed back though the main thread still trains it."""
    delivery_seconds: float = 12.0
    """Seconds after that to deliver the outbox, until the process is ended."""
    leave: Callable[[], None] | None = None
    """Ends the process if it must stop and the main thread doesn't react; None: it isn't ended."""
    self_test: Callable[[torch.device, bool], SelfTest] = self_test
    """Tests the device, compiling or not, before anything is claimed."""
    detect_hardware: Callable[[torch.device, bool], Hardware] = detect_hardware
    """Returns class and speed of the device; whether its reference step is compiled is asked for."""
    passed: SelfTest | None = field(default=None, init=False)
    """Self-test that the device passed; None until the worker runs."""
    hardware: Hardware | None = field(default=None, init=False)
    """Class of the device and throughput of the reference step; None until the worker runs."""
    budget_scale: float = field(default=1.0, init=False)
    """Factor on every budget, with which this machine does as much work as the study's first."""
    report_bytes: int = field(default=MOST_BYTES, init=False)
    """Bytes of validation text of a report, the same for all workers of the study."""
    outbox: Outbox = field(init=False)
    _training: tuple[TrialQueue, Claim] | None = field(default=None, init=False)
    """The trial that is being trained, with its queue."""
    _errors: int = field(default=0, init=False)
    """Errors in a row."""
    _cost_guard: CostGuard = field(init=False)
    _graphs: CompiledGraphs | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._cost_guard = CostGuard(self.study, self.name)
        self.say = self._last_lines = LastLines(self.say)

    def run(self) -> None:
        """Work until everything is done or stopping is asked for.

        Raises `DataError`, before anything is claimed, if this machine can't get the text; `SearchError` if its
        hardware or text isn't the study's, or after errors in a row: a machine that fails must not use up the
        study's trials.
        """
        self.store = self.store or study_artifacts(self.study)  # raises if this machine can't use it
        queues = self.study.queues
        database, folder = self.study.database, paths.outbox(self.study.folder)
        reap_seconds = min(MOST_REAP_SECONDS, self.study.plan.workers.grace_seconds / 4)
        self.outbox = Outbox(database, self.name, folder, self.say)
        if self.compiled_key:
            files, name = study_artifacts(self.study), self.study.folder
            self._graphs = CompiledGraphs(files, name, self.compiled_key, self.device, self.say, self.stop)
        with (
            contextlib.suppress(StoppedError),
            self.outbox,
            self._graphs or contextlib.nullcontext(),
            self._shutdown(),
            Reaper(queues, database.forget_session, interval_seconds=reap_seconds),
        ):
            deliver_leftovers(database, queues, folder, self.say)
            self._fetch_graphs()
            self._agree_on_hardware()
            self._agree_on_text()
            self._work()

    def _shutdown(self) -> Shutdown:
        seconds = {"stop_seconds": self.stop_seconds, "delivery_seconds": self.delivery_seconds}
        return Shutdown(self.stop, self._hand_back, self.leave, **seconds)

    def _work(self) -> None:
        waiting = False
        while not self.stop():
            self._fetch_graphs()
            queue, claim = self._claim()
            if isinstance(claim, Claim):
                waiting = False
                self._attempt(queue, claim)
                self._share_graphs()
            elif claim is NoClaim.DONE:
                update_dashboard(self.study, self.say, self.retrying)
                self.say("nothing left to do")
                return
            elif claim is NoClaim.REFUSED or self.retrying(self._cost_guard.exhausted):
                self.say(self._cost_guard.reason)
                return
            else:
                if not waiting:
                    self.say("waiting for trials that other workers are training")
                waiting = True
                self.stop.wait(random.uniform(0.5, 1) * waiting_seconds(self.study.plan.proxy.budget_seconds))

    def _fetch_graphs(self) -> None:
        """Fetch what other workers compiled, if they share it: off every clock, before anything is compiled here."""
        if self._graphs:
            self._graphs.fetch()

    def _share_graphs(self) -> None:
        """Store what a run compiled, once it is over: its clock would be disturbed. Of a run that failed, nothing."""
        if self._graphs and self._errors:
            self._graphs.pass_over()
        elif self._graphs:
            self._graphs.share()

    def _agree_on_hardware(self) -> None:
        """Test this device, time the reference step on it, and have its hardware compared with the study's."""
        require_precision(self.study.plan, self.device)
        compiled = self.retrying(lambda: is_reference_compiled(self.study, self.device))
        self.passed = self.self_test(self.device, compiled)
        require_passed(self.passed, self.device)
        here = self.hardware = self.detect_hardware(self.device, compiled)
        admission = self.retrying(lambda: admit(self.study, here))
        self.budget_scale = admission.budget_scale
        self.retrying(lambda: self._cost_guard.record_speed(here.reference_tokens_per_second, self.budget_scale))
        self.say(f"{here.label}, reference step {here.speed}")
        if admission.note:
            self.say(f"note: {admission.note}")

    def _agree_on_text(self) -> None:
        """Prepare the text, which must be the same bytes on every machine for their BPB to be comparable."""
        agree_on_text(self.study)
        first = tokenizers(self.study.plan)[0]  # of this study: the default one may not even fit the text
        with contextlib.suppress(StoppedError):
            corpus = shared_corpus(self.study, first, self.stop)
            self.report_bytes = self.retrying(lambda: agree_on_report_bytes(self.study, corpus, self.device))

    def _claim(self) -> tuple[TrialQueue, Claim | NoClaim]:
        """Claim a trial: confirmations asked for by hand come first, then proxies, then other confirmations."""
        proxies, confirmations = self.study.proxy_queue, self.study.confirm_queue
        short, long = (
            self._cost_guard.permit(fidelity) for fidelity in (self.study.plan.proxy, self.study.plan.confirm)
        )
        if self.retrying(lambda: manual_run_waits(self.study)):
            by_hand = self.retrying(lambda: confirmations.claim(self.name, None, BY_HAND, long))
            if isinstance(by_hand, Claim):
                return confirmations, by_hand
        if self.study.plan.confirm.after:  # long runs that are due while proxies go on teach most if they run at once
            self.retrying(lambda: promote(self.study))
            early = self.retrying(lambda: confirmations.claim(self.name, None, "", long))
            if isinstance(early, Claim):
                return confirmations, early
        trials, room = self.study.plan.proxy.trials, partial(room_for_proxy, self.study)
        proxy = self.retrying(lambda: proxies.claim(self.name, trials, "", short, room))
        if isinstance(proxy, Claim) or proxy is NoClaim.REFUSED:
            return proxies, proxy
        self.retrying(lambda: promote(self.study))
        confirmation = self.retrying(lambda: confirmations.claim(self.name, None, "", long))
        if isinstance(confirmation, Claim) or confirmation is NoClaim.REFUSED:
            return confirmations, confirmation
        # The last runs may have ended between the two claims, which makes others due.
        if NoClaim.WAIT in (proxy, confirmation) or self.retrying(lambda: promote(self.study)):
            return confirmations, NoClaim.WAIT
        return confirmations, NoClaim.DONE

    def retrying(self, call: Callable[[], T]) -> T:
        """Call the database, and call again as long as it is away.

        A claim whose answer is lost goes stale and is reaped. Raises `StoppedError` if stopping is asked for
        meanwhile.
        """
        return self.study.database.retrying(call, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise StoppedError("stopped while the database was away")

    def delivered(self) -> bool:
        """Wait until the database has everything in the outbox; return False if stopping is asked for before.

        Raises `UnreachableError` if it stays away.
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
        """Train one claimed trial, and record how it ended."""
        self._training = queue, claim
        proxy = queue is self.study.proxy_queue
        optuna_study = self.study.proxies if proxy else self.study.confirmations
        heartbeat = Heartbeat(queue, claim.trial_id, interval_seconds=self.study.plan.workers.heartbeat_seconds)
        run: TrialRun | None = None
        try:
            with heartbeat:
                self.retrying(partial(self._cost_guard.record_claim, claim))
                run = TrialRun(self._context(), optuna_study, queue, claim, proxy, heartbeat)
                run.train()
            self._errors = 0
        except (UnreachableError, LoginError, GoneError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(gone := refusal(error), GoneError):
                raise gone from None
            if self.outbox.refused:
                raise self.outbox.refused from None
            if run is not None and run.counted:
                return self.say(f"note: {run.label} is counted, but what follows it was cut short: {error}")
            if heartbeat.lost or self.outbox.lost(claim.trial_id) or isinstance(error, UpdateFinishedTrialError):
                return self.say(f"{run_label(proxy, claim.number)}: taken over by another worker")
            self._record(queue, claim, error)
        finally:
            self._training = None
        return None

    def _context(self) -> RunContext:
        return RunContext(
            study=self.study,
            device=self.device,
            hardware=self.hardware,
            self_test=self.passed,
            budget_scale=self.budget_scale,
            report_bytes=self.report_bytes,
            trainer=self.trainer,
            store=self.store,
            outbox=self.outbox,
            stop=self.stop,
            say=self.say,
            last_lines=lambda: list(self._last_lines.lines),
            retrying=self.retrying,
            delivered=self.delivered,
            patience_seconds=self.patience_seconds,
        )

    def _record(self, queue: TrialQueue, claim: Claim, error: BaseException) -> None:
        """Record the cause of a failure.

        Raises `SearchError` after errors in a row, and a `CaptureError` again: not all of the GPU's memory is available
        until this process has ended.
        """
        label = run_label(queue is self.study.proxy_queue, claim.number)
        cause = next((cause for kind, cause in CAUSES.items() if isinstance(error, kind)), "error")
        detail = traceback.format_exc() if cause == "error" else str(error)
        self.outbox.fail(queue, claim.trial_id, cause, detail)
        self.say(f"{label}: {cause}: {error}" + (f"\n{detail}" if cause == "error" else ""))
        self.delivered()
        if cause == "error":
            part = self.study.proxies if queue is self.study.proxy_queue else self.study.confirmations
            keep_trace(self.study, part, claim, detail, self._last_lines)
        if isinstance(error, CaptureError):
            raise error
        self._errors = self._errors + 1 if cause == "error" else self._errors
        if self._errors >= MOST_ERRORS:
            raise SearchError(f"stopped after {MOST_ERRORS} errors in a row; the last: {error}") from error

    def _hand_back(self) -> None:
        """Hand back the trial that the main thread trains; its own record of the end then changes nothing."""
        training = self._training
        if training is not None:
            self.outbox.fail(*(training[0], training[1].trial_id), "interrupted", "handed back before it had stopped")
