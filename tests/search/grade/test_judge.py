"""The judge's client against a real server: what it sends, what it waits for, what it refuses, what it never shows."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from model.errors import StoppedError
from search.common.errors import AwayError, SearchError
from search.grade.judge import Answer, Judge, chat_address, checked_key, checked_options, in_clear, retry_after
from search.grade.rubric import messages, read_grades
from search.grade.spending import CapReachedError, Prices, Spending
from tests.conftest import CLI_SECONDS
from tests.search.grade.server import GRADES, JudgeServer, Reply, graded, in_turn, refused, serving

KEY = "sk-test-0123456789abcdefghij"
CHAT = messages("Once there", " was a cat.")


@contextmanager
def asked(reply: Reply, **options: Any) -> Iterator[tuple[JudgeServer, Judge]]:
    """A server that replies so, and a judge that is in no hurry to give up and hardly pauses."""
    with serving(reply) as server:
        options = {"key": KEY, "first_pause_seconds": 0.001, "patience_seconds": 30.0, **options}
        judge = Judge(chat_address(server.url), "m", **options)
        yield server, judge
        judge.close()


def never(seconds: float) -> bool:
    """Wait for nothing."""
    return False


def answer(judge: Judge, spending: Spending | None = None, wait: Callable[[float], bool] = never) -> Answer:
    return judge.ask(CHAT, spending or Spending(None), wait)


def test_a_request_is_a_chat_with_the_key_and_an_answer_brings_its_tokens() -> None:
    with asked(graded(), options={"temperature": 0}) as (server, judge):
        spending = Spending(Prices(1.0, 10.0))
        got = answer(judge, spending)
    assert read_grades(got.text) == GRADES
    (body,) = server.seen.bodies
    assert (body["model"], body["temperature"], set(body)) == ("m", 0, {"model", "messages", "temperature"})
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert json.loads(body["messages"][1]["content"]) == {"beginning": "Once there", "completion": " was a cat."}
    assert server.seen.paths == ["/v1/chat/completions"]
    assert server.seen.authorizations == [f"Bearer {KEY}"]
    assert (spending.requests, spending.input_tokens, spending.output_tokens) == (1, 300, 20)
    assert spending.usd == pytest.approx((300 * 1 + 20 * 10) / 1e6)


def test_without_a_key_none_is_sent_and_unsaid_tokens_make_the_cost_unknown() -> None:
    with asked(lambda handler: handler.say("x", used=None), key=None) as (server, judge):
        spending = Spending(Prices(1.0, 10.0))
        assert answer(judge, spending) == Answer("x", None)
    assert server.seen.authorizations == [None]
    assert (spending.uncounted, spending.usd) == (1, None)


@pytest.mark.parametrize(
    "trouble",
    [
        refused(429, "slow down"),
        refused(500, "oops"),
        refused(503, "loading"),
        lambda handler: handler.cut(),
        lambda handler: handler.send(502, "<html>bad gateway</html>"),
    ],
)
def test_troubles_that_may_pass_are_waited_for_and_only_the_answer_is_charged(trouble: Reply) -> None:
    pauses = list[tuple[str, float]]()
    with asked(in_turn(trouble, trouble, graded()), on_pause=lambda *pause: pauses.append(pause)) as (server, judge):
        spending = Spending(Prices(1.0, 1.0), max_usd=1.0)
        assert read_grades(answer(judge, spending).text) == GRADES
    assert len(server.seen.bodies) == spending.requests == 3
    assert spending.input_tokens == 300
    assert [seconds for _, seconds in pauses] == [0.001, 0.002]
    assert spending.usd == pytest.approx(320 / 1e6)


def test_retry_after_is_waited_for_where_it_is_longer_than_the_pause() -> None:
    waits = list[float]()

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return False

    with asked(in_turn(refused(429, "slow down", Retry_After="7"), graded())) as (_, judge):
        answer(judge, wait=wait)
    assert waits == [7.0]


def test_retry_after_is_seconds_or_a_date() -> None:
    assert [retry_after(value) for value in (None, "0", "12", "1.5", "soon", "inf")] == [0, 0, 12, 1.5, 0, 0]
    soon, past = (datetime.now(UTC) + timedelta(seconds=s) for s in (3600, -60))
    assert retry_after(format_datetime(soon, usegmt=True)) == pytest.approx(3600, abs=300)
    assert retry_after(format_datetime(past, usegmt=True)) == 0


def test_patience_ends_where_the_server_asks_for_more_and_where_it_never_answers() -> None:
    long = "HTTP 429: slow down, and asks to wait 3,600 s; run the same command again"
    impatient = asked(refused(429, "slow down", Retry_After="3600"))
    with impatient as (server, judge), pytest.raises(AwayError, match=long):
        answer(judge)
    assert len(server.seen.bodies) == 1
    with (
        asked(refused(500, "oops"), patience_seconds=0.0) as (_, judge),
        pytest.raises(AwayError, match="HTTP 500: oops"),
    ):
        answer(judge)


def test_a_slow_judge_is_given_up_after_its_time() -> None:
    """It doesn't begin to answer, or begins and goes on one sign at a time."""
    done = threading.Event()

    def slow(handler: Any) -> None:
        if handler.number == 1:
            done.wait(CLI_SECONDS)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while not done.wait(0.01):
            handler.wfile.write(b" ")

    reasons = list[str]()
    with asked(slow, timeout_seconds=0.2, on_pause=lambda reason, _: reasons.append(reason)) as (_, judge):
        with pytest.raises(StoppedError):
            answer(judge, wait=lambda seconds: len(reasons) == 2)
        done.set()
    assert reasons == ["no answer within 0.2 s", "no whole answer within 0.2 s"]


def test_a_stop_ends_the_waiting() -> None:
    with asked(refused(500, "oops")) as (server, judge), pytest.raises(StoppedError):
        answer(judge, wait=lambda seconds: True)
    assert len(server.seen.bodies) == 1


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (refused(401, f"Incorrect API key provided: {KEY}"), "refuses the key (HTTP 401): put the right one into"),
        (refused(403, "no"), "refuses the key (HTTP 403)"),
        (refused(404, "no model m"), "(HTTP 404: no model m); are --judge and --judge-model right?"),
        (refused(400, "bad temperature"), "(HTTP 400: bad temperature); --judge-options changes the request"),
        (refused(402, "pay"), "has no credit left (HTTP 402: pay)"),
        (refused(429, "quota", "insufficient_quota"), "has no credit left (HTTP 429: quota)"),
        (refused(307, "", Location="http://elsewhere.test/"), "sends elsewhere (HTTP 307): give the final address"),
        (lambda handler: handler.send(200, "<html>Hello</html>"), "is no chat endpoint: <html>Hello</html>; --judge"),
        (lambda handler: handler.send(200, {"choices": []}), "is no chat endpoint"),
        (lambda handler: handler.send(200, "x" * 2_000_000), "answers with more than 1,048,576 bytes"),
    ],
)
def test_what_no_waiting_cures_is_said_at_once(reply: Reply, message: str) -> None:
    with asked(reply) as (server, judge), pytest.raises(SearchError) as refusal:
        answer(judge)
    assert message in str(refusal.value)
    assert not isinstance(refusal.value, AwayError)
    assert KEY not in str(refusal.value)
    assert len(server.seen.bodies) == 1


def test_an_address_where_nothing_listens_is_said_at_once() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        judge = Judge(chat_address(f"http://127.0.0.1:{closed.getsockname()[1]}/v1"), "m")
        with pytest.raises(AwayError, match=r"can't be reached: no connection: .*refused; is --judge right"):
            answer(judge)
    judge.close()


@pytest.mark.parametrize("content", [None, "", 5, ["parts"]])
def test_an_answer_without_text_is_no_grades(content: Any) -> None:
    with asked(lambda handler: handler.say(content)) as (_, judge):
        assert read_grades(answer(judge).text) is None


def test_a_key_that_a_server_sends_back_is_hidden_whole_and_in_pieces() -> None:
    """In errors, in answers, in the reason of a pause."""
    echo = f"you sent {KEY}, that is {KEY[5:20]} and {KEY.upper()[:2]}"
    reasons = list[str]()
    replies = (refused(500, echo), lambda handler: handler.say(echo))
    with asked(in_turn(*replies), on_pause=lambda reason, _: reasons.append(reason)) as (_, judge):
        got = answer(judge).text
    with asked(refused(400, echo)) as (_, judge), pytest.raises(SearchError) as refusal:
        answer(judge)
    for text in (got, *reasons, str(refusal.value), repr(judge)):
        assert not any(KEY[i : i + 8] in text for i in range(len(KEY) - 7))
    assert got.startswith("you sent ***, that is ***")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://localhost:8080/v1", "http://localhost:8080/v1/chat/completions"),
        ("https://api.test/v1/", "https://api.test/v1/chat/completions"),
        ("https://api.test/v1/chat/completions", "https://api.test/v1/chat/completions"),
        ("http://[::1]:80/v1", "http://[::1]/v1/chat/completions"),
    ],
)
def test_the_address_is_the_chat_endpoint_of_a_base(url: str, address: str) -> None:
    assert chat_address(url) == address


@pytest.mark.parametrize(
    "url", ["api.test/v1", "ftp://api.test", "http://", "https://u:hunter22@api.test/v1", "http://h/?k=1"]
)
def test_other_addresses_are_refused_and_a_login_in_one_is_not_shown(url: str) -> None:
    with pytest.raises(SearchError, match="but must be an address") as refusal:
        chat_address(url)
    assert "hunter22" not in str(refusal.value)


def test_a_key_without_tls_is_noticed_except_on_this_machine() -> None:
    assert [in_clear(url) for url in ("http://api.test/v1", "https://api.test/v1", "http://127.0.0.1/v1")] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("key", ["short", "with a space in it", "line\nbreak-in-it", "ключ-от-судьи"])
def test_a_key_that_is_none_is_refused_unseen(key: str) -> None:
    with pytest.raises(SearchError, match="must be at least 8 visible signs") as refusal:
        checked_key(key)
    assert key not in str(refusal.value)
    assert checked_key("  ") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"model": "x"}', '{"stream": true}'])
def test_options_are_an_object_without_our_own_fields(text: str) -> None:
    with pytest.raises(SearchError, match="must be a JSON object"):
        checked_options(text)
    assert checked_options('{"max_tokens": 5}') == {"max_tokens": 5}


def test_caps_refuse_the_request_that_may_go_beyond_them() -> None:
    """A request of at most 100 + 50 tokens at $1 and $2 a million costs at most $200 a million; it took half."""
    spending = Spending(Prices(1.0, 2.0), max_usd=510e-6)
    first = spending.begin(100, 50)
    second = spending.begin(100, 50)
    with pytest.raises(CapReachedError, match="--max-usd"):  # 400 are set aside
        spending.begin(100, 50)
    spending.end(first, (50, 25))
    third = spending.begin(100, 50)  # 100 are spent, and 200 + 200 set aside
    assert third == pytest.approx(200e-6)
    spending.end(second, answered=False)
    spending.end(third)  # it doesn't say: all is charged
    assert spending.usd is None
    with pytest.raises(CapReachedError):
        spending.begin(111, 50)  # 100 + 200 are spent: 211 more would be 511
    assert spending.requests == 3
    limited = Spending(None, max_requests=1)
    limited.begin(1, 1)
    with pytest.raises(CapReachedError, match="--max-requests 1 is reached"):
        limited.begin(1, 1)
    with pytest.raises(SearchError, match="--max-usd needs prices"):
        Spending(None, max_usd=1.0)
