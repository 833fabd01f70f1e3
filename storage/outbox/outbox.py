"""The outbox of a worker: all that it writes about its trials, so that training never waits for the database.

A thread delivers messages in order, through outages, each with the effect of one delivery. Until then a message is
also in a journal on disk: if the worker is killed, the next one on its machine delivers it.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from optuna.trial import TrialState

from storage.errors import LoginError
from storage.outbox.journal import Journal, Message
from storage.outbox.messages import deliver
from storage.queue.trial_queue import TrialQueue
from storage.redaction import redact
from storage.server.backoff import backoff
from storage.server.database import Database, is_transient, refusal
from storage.server.periodic import BackgroundThread

T = TypeVar("T")
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 5.0
"""Seconds between attempts to reach a database that is away."""


class Question(NamedTuple):
    """A query of the database, and the future of its answer."""

    ask: Callable[[], Any]
    answer: Future[Any]


class Outbox(BackgroundThread):
    """Messages of one worker process, delivered in the order of writing.

    Args:
        database: database of the study.
        worker: name under which this worker claims.
        folder: folder of the journal, from which `storage.outbox.messages.deliver_leftovers` delivers.
        say: prints a line for people, on outages and on a disk that takes no journal.

    """

    def __init__(
        self, database: Database, worker: str, folder: Path, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self._database, self._worker, self._say = database, worker, say
        self._journal, self._journal_works = Journal(folder), True
        self._queues: dict[str, TrialQueue] = {}
        self._undelivered: deque[Message | Question] = deque()
        self._lost: set[int] = set()
        self._away = self._outage_printed = self._closing = False
        self._refused: LoginError | None = None
        self._changed = threading.Condition()
        super().__init__("outbox")

    def close(self, seconds: float = 5.0) -> None:
        """Deliver for this many seconds at most; messages that are left stay in the journal."""
        self.wait(0.0 if self._away else seconds)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(0.0 if self._undelivered else seconds)
        self._journal.close()

    @property
    def away(self) -> bool:
        """Whether the last call of the database got no answer."""
        return self._away

    @property
    def refused(self) -> LoginError | None:
        """Error with which the database refuses this worker for good; its messages stay in the journal."""
        return self._refused

    def lost(self, trial_id: int) -> bool:
        """Return whether a trial was taken away, or a message about it refused; later ones are dropped."""
        return trial_id in self._lost

    def report(self, queue: TrialQueue, trial_id: int, step: int, value: float) -> None:
        """Set the loss of a trial at a step."""
        self._put(queue, trial_id, {"report": [step, value]})

    def attributes(self, queue: TrialQueue, trial_id: int, attributes: Mapping[str, Any]) -> None:
        """Set user attributes of a trial; raises TypeError for a value that JSON can't hold."""
        self._put(queue, trial_id, {"attributes": dict(attributes)})

    def finish(self, queue: TrialQueue, trial_id: int, state: TrialState, value: float | None) -> None:
        """Set the end of a trial, with its value."""
        self._put(queue, trial_id, {"finish": [state.name, value]})

    def fail(self, queue: TrialQueue, trial_id: int, cause: str, detail: str = "") -> None:
        """Set the failure of a trial, with its cause; see `TrialQueue.fail`."""
        self._put(queue, trial_id, {"fail": [cause, redact(detail)]})

    def ask(self, question: Callable[[], T]) -> Future[T]:
        """Queue a question, to be answered after all messages before it; drop an earlier question that still waits."""
        answer: Future[T] = Future()
        with self._changed:
            others = [m for i, m in enumerate(self._undelivered) if i == 0 or not isinstance(m, Question)]
            self._undelivered = deque([*others, Question(question, answer)])
            self._changed.notify_all()
        return answer

    def wait(self, seconds: float) -> bool:
        """Wait until all is delivered and answered, for this many seconds at most; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._undelivered, seconds)

    def wait_patiently(self, seconds: float) -> bool:
        """Wait likewise, but not at all for a database that is away; one that takes longer is taken to be away."""
        done = self.wait(0.0 if self._away else seconds)
        if not done:
            self._away = True
        return done

    def _put(self, queue: TrialQueue, trial_id: int, content: Message) -> None:
        header = {"queue": queue.name, "study": queue.identity, "trial_id": trial_id, "worker": self._worker}
        message = {**header, **content}
        with self._changed:
            self._queues[queue.name] = queue
            self._append_to_journal(message)
            self._undelivered.append(message)
            self._changed.notify_all()

    def _append_to_journal(self, message: Message) -> None:
        try:
            self._journal.append(message)
        except OSError as error:
            if self._journal_works:
                self._say(f"the outbox can't be written ({error.strerror or error}); results are kept in memory alone")
            self._journal_works = False

    def _run(self) -> None:
        pauses = backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while (first := self._first()) is not None:
            try:
                self._handle(first)
            except Exception as error:
                self._database.forget_session()
                if is_transient(error):
                    self._note_outage(first)
                    self._sleep(next(pauses))
                    continue
                refused = refusal(error)
                if isinstance(refused, LoginError):
                    return self._note_refusal(refused)
                self._say(f"a result could not be stored: {refused or f'{type(error).__name__}: {error}'}")
                if not isinstance(first, Question) and (refused or "finish" in first):
                    self._lost.add(first["trial_id"])
            pauses = backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
            self._remove_first()
        return None

    def _note_refusal(self, refused: LoginError) -> None:
        with self._changed:
            self._refused, self._away = refused, True
            self._changed.notify_all()

    def _first(self) -> Message | Question | None:
        with self._changed:
            self._changed.wait_for(lambda: self._undelivered or self._closing)
            return self._undelivered[0] if self._undelivered and not self._closing else None

    def _handle(self, first: Message | Question) -> None:
        if isinstance(first, Question):
            self._answer(first)
        elif first["trial_id"] not in self._lost and not deliver(self._database, self._queues[first["queue"]], first):
            self._lost.add(first["trial_id"])

    def _answer(self, question: Question) -> None:
        """Answer a question, also with its error; an outage or a refused login leaves it open."""
        try:
            question.answer.set_result(question.ask())
        except Exception as error:
            if is_transient(error) or refusal(error):
                raise
            question.answer.set_exception(error)

    def _remove_first(self) -> None:
        with self._changed:
            if self._outage_printed:
                self._say("the database is back")
            self._away = self._outage_printed = False
            self._undelivered.popleft()
            if not self._closing and all(isinstance(m, Question) for m in self._undelivered):
                self._journal.clear()
            self._changed.notify_all()

    def _note_outage(self, first: Message | Question) -> None:
        with self._changed:
            if not self._outage_printed:
                self._say("the database doesn't answer: results are kept until it does")
            self._away = self._outage_printed = True
            if isinstance(first, Question):  # too late for its report: the next one asks anew
                self._undelivered.popleft()
            self._changed.notify_all()

    def _sleep(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, seconds)
