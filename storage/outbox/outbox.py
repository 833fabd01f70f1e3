"""What a worker writes of its trials goes through here, so that training never waits for the database.

A thread of its own delivers letters in order, through outages, each in effect once. Until it is delivered a letter
is in a journal on disk too: what a killed worker had written is delivered by the next one on its machine.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from optuna.trial import TrialState

from storage.errors import LoginError
from storage.outbox.journal import Journal, Letter
from storage.outbox.messages import deliver
from storage.queue.trial_queue import TrialQueue
from storage.redaction import redact
from storage.server.backoff import backoff
from storage.server.database import Database, is_passing, refusal
from storage.server.periodic import Background

T = TypeVar("T")
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 5.0


class Question(NamedTuple):
    """What the database is asked, and where its answer will be."""

    ask: Callable[[], Any]
    answer: Future[Any]


class Outbox(Background):
    """Letters of one worker process, delivered in the order of writing.

    Args:
        database: where they go.
        worker: the name by which this worker claims.
        folder: where the journal is kept; `storage.outbox.messages.deliver_leftovers` looks there.
        say: prints a line for people: outages, and a disk that takes no journal.

    """

    def __init__(
        self, database: Database, worker: str, folder: Path, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self._database, self._worker, self._say = database, worker, say
        self._journal, self._journal_works = Journal(folder), True
        self._queues: dict[str, TrialQueue] = {}
        self._waiting: deque[Letter | Question] = deque()
        self._lost: set[int] = set()
        self._away = self._said_away = self._closing = False
        self._refused: LoginError | None = None
        self._changed = threading.Condition()
        super().__init__("outbox")

    def close(self, seconds: float = 5.0) -> None:
        """Deliver for at most so long; what is left stays in the journal."""
        self.wait(0.0 if self._away else seconds)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(0.0 if self._waiting else seconds)
        self._journal.close()

    @property
    def away(self) -> bool:
        """Whether the database didn't answer when last it was called."""
        return self._away

    @property
    def refused(self) -> LoginError | None:
        """Why the database takes nothing from this worker any more; what it wrote stays in the journal."""
        return self._refused

    def lost(self, trial_id: int) -> bool:
        """Return whether a letter found its trial taken away, or was not taken; later ones are dropped."""
        return trial_id in self._lost

    def report(self, queue: TrialQueue, trial_id: int, step: int, value: float) -> None:
        """Set the loss at a step."""
        self._put(queue, trial_id, {"report": [step, value]})

    def attributes(self, queue: TrialQueue, trial_id: int, attributes: Mapping[str, Any]) -> None:
        """Set user attributes; raises TypeError for a value that JSON can't hold."""
        self._put(queue, trial_id, {"attributes": dict(attributes)})

    def finish(self, queue: TrialQueue, trial_id: int, state: TrialState, value: float | None) -> None:
        """Set the end of a trial."""
        self._put(queue, trial_id, {"finish": [state.name, value]})

    def fail(self, queue: TrialQueue, trial_id: int, cause: str, detail: str = "") -> None:
        """Set a trial's failure with its cause; a trial whose fault it isn't is queued again."""
        self._put(queue, trial_id, {"fail": [cause, redact(detail)]})

    def ask(self, question: Callable[[], T]) -> Future[T]:
        """Have a question answered once all letters before it are delivered; an unanswered earlier one is dropped."""
        answer: Future[T] = Future()
        with self._changed:
            kept = [w for i, w in enumerate(self._waiting) if i == 0 or not isinstance(w, Question)]
            self._waiting = deque([*kept, Question(question, answer)])
            self._changed.notify_all()
        return answer

    def wait(self, seconds: float) -> bool:
        """Wait until all is delivered and answered, for at most so long; returns whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, seconds)

    def wait_patiently(self, seconds: float) -> bool:
        """Wait likewise, but not at all for a database that is away; one that takes longer counts as away."""
        done = self.wait(0.0 if self._away else seconds)
        if not done:
            self._away = True
        return done

    def _put(self, queue: TrialQueue, trial_id: int, content: Letter) -> None:
        whose = {"queue": queue.name, "study": queue.identity, "trial_id": trial_id, "worker": self._worker}
        letter = {**whose, **content}
        with self._changed:
            self._queues[queue.name] = queue
            self._write_down(letter)
            self._waiting.append(letter)
            self._changed.notify_all()

    def _write_down(self, letter: Letter) -> None:
        try:
            self._journal.append(letter)
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
                if is_passing(error):
                    self._go_away(first)
                    self._sleep(next(pauses))
                    continue
                refused = refusal(error)
                if isinstance(refused, LoginError):
                    return self._give_up(refused)
                self._say(f"a result could not be stored: {refused or f'{type(error).__name__}: {error}'}")
                if not isinstance(first, Question) and (refused or "finish" in first):
                    self._lost.add(first["trial_id"])
            pauses = backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
            self._done_with(first)
        return None

    def _give_up(self, refused: LoginError) -> None:
        with self._changed:
            self._refused, self._away = refused, True
            self._changed.notify_all()

    def _first(self) -> Letter | Question | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return self._waiting[0] if self._waiting and not self._closing else None

    def _handle(self, first: Letter | Question) -> None:
        if isinstance(first, Question):
            self._find_out(first)
        elif first["trial_id"] not in self._lost and not deliver(self._database, self._queues[first["queue"]], first):
            self._lost.add(first["trial_id"])

    def _find_out(self, question: Question) -> None:
        """Answer a question, if with its error; an outage leaves it open, and so does a login that is refused."""
        try:
            question.answer.set_result(question.ask())
        except Exception as error:
            if is_passing(error) or refusal(error):
                raise
            question.answer.set_exception(error)

    def _done_with(self, first: Letter | Question) -> None:
        with self._changed:
            if self._said_away:
                self._say("the database is back")
            self._away = self._said_away = False
            self._waiting.popleft()
            if not self._closing and all(isinstance(w, Question) for w in self._waiting):
                self._journal.clear()
            self._changed.notify_all()

    def _go_away(self, first: Letter | Question) -> None:
        with self._changed:
            if not self._said_away:
                self._say("the database doesn't answer: what is found is kept until it does")
            self._away = self._said_away = True
            if isinstance(first, Question):  # its time has passed: the next report asks anew
                self._waiting.popleft()
            self._changed.notify_all()

    def _sleep(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, seconds)
