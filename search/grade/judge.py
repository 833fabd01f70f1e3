"""A judge: any model behind an OpenAI-compatible chat endpoint, asked over HTTP with patience and with a key."""

import itertools
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from model.errors import StoppedError
from search.common.errors import AwayError, SearchError
from search.common.loopback import is_loopback
from search.common.safe_text import plain_line
from search.grade.spending import Spending
from storage.errors import first_line
from storage.redaction import HIDDEN, hide_secret, redact, shown_address
from storage.server.backoff import backoff

KEY, KEY_FILE = "LILM_SEARCH_JUDGE_KEY", "LILM_SEARCH_JUDGE_KEY_FILE"
"""Environment variables: the key itself, and the path of a private file that holds it."""
MOST_BYTES = 1 << 20
"""Bytes of an answer; a longer one is refused."""
ASSUMED_OUTPUT_TOKENS = 1000
"""Tokens of an answer that a cap allows for, unless the options limit them."""
MESSAGE_TOKENS = 16
"""Tokens that a chat template may add to each message."""
_MOST_QUOTED = 200
_PIECE = 8
"""Length of a piece of the key that isn't shown either."""
_PASSING = (408, 409, 425, 429)
"""Client errors after which the same request may succeed, as any of the server's (500 and above)."""
_OWN = ("messages", "model", "n", "stream")
"""Fields of a request that options may not set."""


@dataclass(frozen=True)
class Answer:
    """What a judge has answered."""

    text: str
    used: tuple[int, int] | None
    """Tokens of the request and of the answer; None if the judge doesn't say."""


class _PassingError(Exception):
    """A request failed in a way that may pass."""

    def __init__(self, reason: str, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds
        """Seconds that the server asks to wait."""


def chat_address(url: str) -> str:
    """Return the address of the chat endpoint at a base such as https://HOST/v1; raises `SearchError`."""
    try:
        parsed = httpx2.URL(url.strip())
    except (httpx2.InvalidURL, ValueError):
        parsed = httpx2.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise SearchError(f"--judge is {shown_address(url)}, but must be an address such as http://localhost:8080/v1")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise SearchError(
            f"--judge is for {parsed.host}, with a login, ? or #, but must be an address without, such as "
            f"https://HOST/v1; a key comes from {KEY}"
        )
    path = parsed.path.rstrip("/")
    return str(parsed.copy_with(path=path if path.endswith("/chat/completions") else f"{path}/chat/completions"))


def checked_options(text: str | None) -> dict[str, Any]:
    """Return further fields of the requests, from a JSON object; raises `SearchError` for any other text."""
    try:
        options = {} if text is None else json.loads(text)
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict) or set(_OWN) & options.keys():
        raise SearchError(
            f"--judge-options is {text!r:.60}, but must be a JSON object such as "
            f'\'{{"temperature": 0, "max_tokens": 200}}\', without {", ".join(_OWN)}'
        )
    return options


def checked_key(key: str | None) -> str | None:
    """Return the key, hidden in all output from now on; None for none. Raises `SearchError`, without showing it."""
    key = (key or "").strip() or None
    if key is None:
        return None
    hide_secret(key)
    if len(key) < _PIECE or not key.isascii() or not key.isprintable() or " " in key:
        raise SearchError(f"the judge's key must be at least {_PIECE} visible signs of ASCII; see {KEY}, {KEY_FILE}")
    return key


class Judge:
    """A chat endpoint with a model behind it.

    Args:
        address: the endpoint, as `chat_address` returns it.
        model: the model's name there.
        key: its key, sent as a bearer token; None for none.
        options: further fields of each request.
        on_pause: called with the reason and the seconds of each pause before a request is repeated.
        timeout_seconds: the longest that one answer may take.
        patience_seconds: the longest that one request is repeated for.
        first_pause_seconds: the first pause, each further one being twice as long, up to a minute.

    """

    def __init__(
        self,
        address: str,
        model: str,
        key: str | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        on_pause: Callable[[str, float], None] = lambda reason, seconds: None,
        timeout_seconds: float = 120.0,
        patience_seconds: float = 300.0,
        first_pause_seconds: float = 1.0,
    ) -> None:
        self.address, self.model, self.options = address, model, dict(options or {})
        self._on_pause = on_pause
        self._timeout, self._patience, self._first_pause = timeout_seconds, patience_seconds, first_pause_seconds
        self._has_key, self._reached = key is not None, False
        self._pieces = [key[i : i + _PIECE] for i in range(len(key) - _PIECE + 1)] if key else []
        host = httpx2.URL(address).host
        self._client = httpx2.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=timeout_seconds,
            trust_env=not is_loopback(host),  # no proxy stands between this machine and itself
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def body(self, messages: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        """Return the request for a chat, as JSON."""
        return {"model": self.model, "messages": list(messages), **self.options}

    def ask(self, messages: Sequence[Mapping[str, str]], spending: Spending, wait: Callable[[float], bool]) -> Answer:
        """Return the judge's answer; errors that may pass are waited for, as long as the server asks for at least.

        Args:
            messages: the chat.
            spending: counts each request; raises `CapReachedError` before one that may cost too much.
            wait: sleeps for so many seconds, and returns whether to stop.

        Raises `AwayError` if patience ends, `SearchError` for what can't pass, `StoppedError` if `wait` says so.

        """
        content = json.dumps(self.body(messages), ensure_ascii=False).encode()
        pauses = backoff(self._first_pause, 60.0, self._patience)
        while True:
            set_aside = spending.begin(len(content) + MESSAGE_TOKENS * len(messages), self._most_output())
            answer = None
            try:
                answer = self._post(content)
                return answer
            except _PassingError as error:
                failure = error
            finally:
                spending.end(set_aside, answer.used if answer else None, answered=answer is not None)
            pause = next(pauses, None)
            if pause is None or failure.wait_seconds > self._patience:
                raise AwayError(self._away(failure))
            seconds = max(pause, failure.wait_seconds)
            self._on_pause(str(failure), seconds)
            if wait(seconds):
                raise StoppedError("stopped while the judge was waited for")

    def _most_output(self) -> int:
        limits = (self.options.get(name) for name in ("max_tokens", "max_completion_tokens"))
        return next((limit for limit in limits if isinstance(limit, int)), ASSUMED_OUTPUT_TOKENS)

    def _away(self, failure: _PassingError) -> str:
        asks = f", and asks to wait {failure.wait_seconds:,.0f} s" if failure.wait_seconds > self._patience else ""
        return f"the judge at {self.address} doesn't answer: {failure}{asks}; run the same command again later"

    def _post(self, content: bytes) -> Answer:
        headers, deadline = {"Content-Type": "application/json"}, time.monotonic() + self._timeout
        received = bytearray()
        try:
            with self._client.stream("POST", self.address, content=content, headers=headers) as response:
                self._reached = True
                for piece in response.iter_bytes():
                    received += piece
                    if len(received) > MOST_BYTES:
                        raise SearchError(f"the judge at {self.address} answers with more than {MOST_BYTES:,} bytes")
                    if time.monotonic() > deadline:
                        raise _PassingError(f"no whole answer within {self._timeout:g} s")
        except httpx2.ConnectError as error:
            reason = f"no connection: {self._quoted(first_line(error))}"
            if not self._reached:  # rather a wrong address than a server that is away
                raise AwayError(f"the judge at {self.address} can't be reached: {reason}; is --judge right?") from None
            raise _PassingError(reason) from None
        except httpx2.TimeoutException:
            raise _PassingError(f"no answer within {self._timeout:g} s") from None
        except httpx2.RequestError as error:  # cut, garbled, undecodable
            raise _PassingError(f"the connection broke: {self._quoted(first_line(error))}") from None
        text = received.decode("utf-8", errors="replace")
        if response.status_code != httpx2.codes.OK:
            raise self._failure(response, text)
        return self._answer(text)

    def _failure(self, response: httpx2.Response, text: str) -> Exception:
        """Return the error that a status other than 200 means."""
        status, (message, code) = response.status_code, _error_in(text)
        said = self._quoted(message) or "without a reason"
        if status == 402 or code == "insufficient_quota":  # OpenAI's 429 that no waiting cures
            return SearchError(f"the judge has no credit left (HTTP {status}: {said}); what it has answered is kept")
        if status in _PASSING or status >= 500:
            return _PassingError(f"HTTP {status}: {said}", retry_after(response.headers.get("Retry-After")))
        if status in (401, 403):  # what it says may show parts of the key
            what = "refuses the key" if self._has_key else "asks for a key"
            return SearchError(
                f"the judge at {self.address} {what} (HTTP {status}): put the right one into {KEY}, or into a private "
                f"file that --judge-key-file or {KEY_FILE} names"
            )
        if 300 <= status < 400:
            return SearchError(f"the judge at {self.address} sends elsewhere (HTTP {status}): give the final address")
        cure = "are --judge and --judge-model right?" if status == 404 else "--judge-options changes the request"
        return SearchError(f"the judge at {self.address} refuses the request (HTTP {status}: {said}); {cure}")

    def _answer(self, text: str) -> Answer:
        try:
            table = json.loads(text)
            content = table["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise SearchError(
                f"what answers at {self.address} is no chat endpoint: {self._quoted(text) or 'nothing'}; --judge must "
                "be the base of an OpenAI-compatible API, such as http://localhost:8080/v1"
            ) from None
        usage = table.get("usage")
        counts: list[Any] = (
            [usage.get(k) for k in ("prompt_tokens", "completion_tokens")] if isinstance(usage, dict) else []
        )
        used = (counts[0], counts[1]) if counts and all(type(n) is int and n >= 0 for n in counts) else None
        return Answer(self._without_key(content) if isinstance(content, str) else "", used)

    def _without_key(self, text: str) -> str:
        """Return a text from the server with the key hidden, and pieces of it too."""
        text = redact(text)
        starts = [match.start() for piece in self._pieces for match in re.finditer(re.escape(piece), text)]
        hidden = {place for start in starts for place in range(start, start + _PIECE)}
        runs = itertools.groupby(range(len(text)), key=hidden.__contains__)
        return "".join(HIDDEN if secret else "".join(text[i] for i in places) for secret, places in runs)

    def _quoted(self, text: str) -> str:
        line = plain_line(self._without_key(text[: 10 * _MOST_QUOTED]))
        return line if len(line) <= _MOST_QUOTED else f"{line[:_MOST_QUOTED]}…"


def _error_in(text: str) -> tuple[str, str]:
    """Return the message and the code of an error's body: OpenAI's form, or the text itself and no code."""
    try:
        error = json.loads(text)["error"]
        return (str(error["message"]), str(error.get("code"))) if isinstance(error, dict) else (str(error), "")
    except (ValueError, LookupError, TypeError, RecursionError):
        return text, ""


def retry_after(value: str | None) -> float:
    """Return the seconds of a Retry-After header, a number or a date (RFC 9110, section 10.2.3); 0 for none."""
    if value is None:
        return 0.0
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value, re.ASCII):
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def in_clear(address: str) -> bool:
    """Return whether what is sent to an address can be read on the way: to another machine without TLS."""
    url = httpx2.URL(address)
    return url.scheme == "http" and not is_loopback(url.host)
