"""One model that writes for one request at a time, and a queue of limited length before it."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from model.data.tokenizer import ESCAPE, UNKNOWN
from model.formats.checkpoint import Checkpoint
from model.sample import sample
from search.serve.request import CompletionRequest, RefusedError

MOST_WAITING = 8
"""Requests that wait while the model writes for another; further ones are refused."""
MOST_SECONDS = 120.0
"""Seconds that a request may wait for its turn, and then again may write."""


Pieces = queue.SimpleQueue[str | Exception | None]
"""Pieces of text as they are written, or what went wrong, and None at the end."""
Put = Callable[[str | Exception | None], None]


@dataclass
class Completion:
    """A completion in the making."""

    prompt_tokens: int
    tokens: int = 0
    """Tokens written so far."""
    finish_reason: str = "stop"
    """OpenAI's word for its end: "stop" at the document's end or a stop text, "length" at a limit."""


class Writer:
    """A model that serves one request after the other.

    Args:
        model: the model.
        max_seconds: seconds for waiting, and again for writing.
        max_waiting: requests that may wait.

    """

    def __init__(self, model: Checkpoint, max_seconds: float = MOST_SECONDS, max_waiting: int = MOST_WAITING) -> None:
        self.model, self.max_seconds = model, max_seconds
        self._turn = threading.Lock()
        self._places = threading.BoundedSemaphore(max_waiting + 1)

    def write(self, request: CompletionRequest) -> tuple[Completion, Iterator[str]]:
        """Return a completion, and its text piece by piece, which ends with the iterator or when that is closed.

        Raises `RefusedError` if the prompt is longer than the context, or the queue is full or too slow.
        """
        context = self.model.network.config.context
        prompt_tokens = len(self.model.tokenizer.encode([request.text])[0])
        if prompt_tokens >= context:
            raise RefusedError(
                400,
                f"the prompt has {prompt_tokens} tokens, but must have < {context}, the model's context",
            )
        if not self._places.acquire(blocking=False):
            raise RefusedError(429, "too many requests are waiting for the model; try again")
        if not self._turn.acquire(timeout=self.max_seconds):
            self._places.release()
            raise RefusedError(429, f"the model was busy for {self.max_seconds:g} s; try again")
        completion, pieces, closed = Completion(prompt_tokens), Pieces(), threading.Event()
        # A thread of its own writes, so that a client that reads slowly keeps no other waiting.
        threading.Thread(target=self._run, args=(request, completion, pieces.put, closed), daemon=True).start()
        return completion, _read(pieces, closed)

    def _run(
        self,
        request: CompletionRequest,
        completion: Completion,
        put: Put,
        closed: threading.Event,
    ) -> None:
        try:
            self._sample(request, completion, put, closed)
        except Exception as error:
            put(error)
        finally:
            put(None)
            self._turn.release()
            self._places.release()

    def _sample(
        self,
        request: CompletionRequest,
        completion: Completion,
        put: Put,
        closed: threading.Event,
    ) -> None:
        deadline, sent = time.monotonic() + self.max_seconds, 0

        def send(text: str, settled: int) -> None:
            nonlocal sent
            if settled > sent:
                put(text[sent:settled])
                sent = settled

        def on_text(text: str) -> bool:
            completion.tokens += 1
            ends = [place for stop in request.stops if (place := text.find(stop)) >= 0]
            send(text, min(ends) if ends else settled_length(text, request.stops))
            if not ends and (completion.tokens == request.max_tokens or time.monotonic() > deadline):
                completion.finish_reason = "length"
            return not (ends or closed.is_set() or completion.finish_reason == "length")

        text = sample(
            self.model,
            request.text,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_k=self.model.tokenizer.vocab_size,
            top_p=request.top_p,
            seed=time.time_ns() % 2**31 if request.seed is None else request.seed,
            on_text=on_text,
        )
        ends = [place for stop in request.stops if (place := text.find(stop)) >= 0]
        send(text, min(ends) if ends else len(text))


def _read(pieces: Pieces, closed: threading.Event) -> Iterator[str]:
    """Yield the pieces; closed before the end, the rest isn't written."""
    try:
        while (piece := pieces.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece
    finally:
        closed.set()


def settled_length(text: str, stops: tuple[str, ...]) -> int:
    """Return how much of a text further tokens can't change, nor a stop text that has begun at its end take back."""
    length = len(text.rstrip(UNKNOWN + ESCAPE))  # a character of several tokens, of which some are missing
    for stop in stops:
        begun = next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
        length = min(length, len(text) - begun)
    return length
