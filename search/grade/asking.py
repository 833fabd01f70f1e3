"""A judge asked for the grades of completions: in a drawn order, several at a time, each once and for good."""

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass

from model.errors import StoppedError
from search.common.errors import SearchError
from search.common.safe_text import plain_line
from search.grade.judge import Judge
from search.grade.rubric import messages, read_grades
from search.grade.spending import CapReachedError, Spending
from search.grade.store import Store, key_of
from search.grade.writing import Completion, OnDone

NONSENSE_AT_FIRST = 10
"""Answers after which a judge that has given no grades yet isn't asked any more."""
POLL_SECONDS = 0.2
"""Seconds between looks at whether to stop."""


@dataclass(frozen=True)
class Judged:
    """A judge's answers."""

    answers: Mapping[int, str]
    """Answer on each completion that was judged, by its index."""
    kept: int
    """Different completions whose answer was there from an earlier run."""
    asked: int
    """Different completions on which the judge has answered now."""
    cap: str
    """Why the judge wasn't asked about the rest; empty if there is no rest."""

    def grades(self, index: int) -> Mapping[str, float] | None:
        """Return a completion's grades; None if it wasn't judged, or the answer was nonsense."""
        answer = self.answers.get(index)
        return None if answer is None else read_grades(answer)


def blind_order(completions: Sequence[Completion], seed: int) -> list[int]:
    """Return the completions' indices in an order drawn by seed.

    Samples of one prompt and number, one of each model, come together, in an order of their own: where a cap ends the
    questions, models have been judged on nearly the same prompts.
    """
    draw = random.Random(seed)
    blocks: dict[tuple[int, int], list[int]] = {}
    for index, completion in enumerate(completions):
        blocks.setdefault((completion.prompt, completion.sample), []).append(index)
    shuffled = list(blocks.values())
    draw.shuffle(shuffled)
    for block in shuffled:
        draw.shuffle(block)
    return [index for block in shuffled for index in block]


def ask_all(
    judge: Judge,
    prompts: Sequence[str],
    completions: Sequence[Completion],
    seed: int,
    store: Store,
    spending: Spending,
    parallel: int,
    should_stop: Callable[[], bool],
    on_done: OnDone,
) -> Judged:
    """Return a judge's answers on all completions, those from the store included; equal completions are asked once.

    Answers are stored as they come. Raises `SearchError` if the judge refuses, or answers nothing but nonsense;
    `AwayError` if it doesn't answer; `StoppedError` when asked to stop.
    """
    chats = dict(_chats(judge, prompts, completions, seed))
    indices = {index: _key(judge, prompts, c) for index, c in enumerate(completions)}
    answers = {key: str(table["text"]) for key in chats if (table := store.get(key)) is not None}
    kept = len(answers)
    questions = _Questions(judge, store, spending, should_stop, lambda n: on_done(kept + n, len(chats)))
    new, cap = questions.ask({key: chat for key, chat in chats.items() if key not in answers}, parallel)
    answers |= new
    return Judged({i: answers[key] for i, key in indices.items() if key in answers}, kept, len(new), cap)


def _key(judge: Judge, prompts: Sequence[str], completion: Completion) -> str:
    return key_of("answer", judge.address, judge.body(messages(prompts[completion.prompt], completion.text)))


def _chats(
    judge: Judge, prompts: Sequence[str], completions: Sequence[Completion], seed: int
) -> list[tuple[str, list[dict[str, str]]]]:
    ordered = [completions[index] for index in blind_order(completions, seed)]
    return [(_key(judge, prompts, c), messages(prompts[c.prompt], c.text)) for c in ordered]


class _Questions:
    """Questions under way in threads; the first fault, the cap or a request to stop ends them."""

    def __init__(
        self,
        judge: Judge,
        store: Store,
        spending: Spending,
        should_stop: Callable[[], bool],
        on_done: Callable[[int], None],
    ) -> None:
        self._judge, self._store, self._spending = judge, store, spending
        self._should_stop, self._on_done = should_stop, on_done
        self._halted, self._lock = threading.Event(), threading.Lock()
        self._answers: dict[str, str] = {}
        self._nonsense = 0
        self._cap = ""
        self._fault: Exception | None = None

    def ask(self, chats: Mapping[str, list[dict[str, str]]], parallel: int) -> tuple[dict[str, str], str]:
        """Return the answers by key, and the cap that ended the questions, or an empty text.

        What is under way when they end is waited for, since it is paid for.
        """
        self._on_done(0)
        with ThreadPoolExecutor(parallel) as pool:
            try:
                left = {pool.submit(self._answer, key, chat) for key, chat in chats.items()}
                while left:
                    done, left = wait(left, POLL_SECONDS, FIRST_COMPLETED)
                    if self._should_stop():
                        self._halt(StoppedError("stopped while the judge was asked"))
                    if done:
                        self._on_done(len(self._answers))
            finally:
                self._halted.set()
        if self._fault is not None:
            raise self._fault
        return self._answers, self._cap

    def _answer(self, key: str, chat: list[dict[str, str]]) -> None:
        """Ask one question in a thread; where there is reason to, end all of them before the thread asks another."""
        if self._halted.is_set():
            return
        try:
            text = self._judge.ask(chat, self._spending, self._halted.wait).text
            self._store.put(key, {"text": text})
            with self._lock:
                self._answers[key] = text
                self._check(text)
        except StoppedError:  # while it was to be repeated: questions have ended already
            pass
        except CapReachedError as error:
            self._cap = self._cap or str(error)
            self._halted.set()
        except Exception as error:
            self._halt(error)

    def _check(self, text: str) -> None:
        self._nonsense += read_grades(text) is None
        if self._nonsense == len(self._answers) == NONSENSE_AT_FIRST:
            shown = plain_line(text)[:200] or "nothing at all"
            raise SearchError(
                f"the judge {self._judge.model} has answered {NONSENSE_AT_FIRST} times without grades, such as: "
                f"{shown}. Ask another with --judge-model, or give it more room with --judge-options"
            )

    def _halt(self, fault: Exception) -> None:
        self._fault = self._fault or fault
        self._halted.set()
