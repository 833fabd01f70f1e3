"""The endpoint as clients meet it: a real server on a real socket, against what `sample` writes."""

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.data.corpus import Corpus
from model.data.tokenizer import UNKNOWN
from model.formats.checkpoint import Checkpoint
from model.sample import _draw, sample
from search.common.errors import SearchError
from search.serve.request import MOST_BODY_BYTES, CompletionRequest, RefusedError
from search.serve.server import HOST, LimitedServer, listen
from search.serve.writer import Writer, settled_length
from tests.model.test_sample import lively


@pytest.fixture(scope="module")
def model(corpus: Corpus) -> Checkpoint:
    return lively(corpus)


@pytest.fixture(scope="module")
def server(model: Checkpoint) -> Iterator[LimitedServer]:
    with listen(Writer(model), "made", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(
    server: LimitedServer, body: Any, path: str = "/v1/completions", method: str = "POST", **headers: str
) -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, server.server_port, timeout=60)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, content, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def texts(events: str) -> list[str]:
    """The pieces of a streamed answer."""
    lines = [line.removeprefix("data: ") for line in events.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    parts = [json.loads(line) for line in lines]
    assert parts[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    return [part["choices"][0]["text"] for part in parts]


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_completion_is_what_sample_writes_whole_or_in_pieces(
    model: Checkpoint, server: LimitedServer, temperature: float
) -> None:
    given_ = {"prompt": "the text", "max_tokens": 30, "temperature": temperature, "seed": 3}
    whole = sample(model, "the text", max_tokens=30, temperature=temperature, top_k=model.tokenizer.vocab_size, seed=3)
    status, answer = ask(server, given_)
    table = json.loads(answer)
    assert (status, table["choices"][0]["text"], table["model"]) == (200, whole, "made")
    assert table["choices"][0]["finish_reason"] == "length"
    prompt = len(model.tokenizer.encode(["the text"])[0])
    assert table["usage"] == {"prompt_tokens": prompt, "completion_tokens": 30, "total_tokens": prompt + 30}
    status, events = ask(server, {**given_, "stream": True})
    pieces = texts(events)
    assert (status, "".join(pieces)) == (200, whole)
    assert len(pieces) > 5


def test_a_stop_text_ends_the_answer_before_it(model: Checkpoint, server: LimitedServer) -> None:
    """The stop text lies across pieces: nothing of it is sent."""
    whole = sample(model, "the", max_tokens=40, temperature=0)
    stop = whole[12:17]
    given_ = {"prompt": ["the"], "max_tokens": 40, "temperature": 0, "stop": ["never written", stop]}
    choice = json.loads(ask(server, given_)[1])["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == (whole[: whole.index(stop)], "stop")
    assert "".join(texts(ask(server, {**given_, "stream": True})[1])) == choice["text"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "the body is not JSON"),
        (b"[]", 400, "the body must be an object"),
        ({"promt": "a"}, 400, "did you mean `prompt`?"),
        ({"prompt": [1, 2]}, 400, "`prompt` is [1, 2], but must be"),
        ({"prompt": ["a", "b"]}, 400, "`prompt` is a list of 2, but must be one text"),
        ({"prompt": "a", "max_tokens": 10**6}, 400, "`max_tokens` is 1000000, but must be"),
        ({"prompt": "a", "temperature": "hot"}, 400, "`temperature` is 'hot', but must be a number"),
        ({"prompt": "a", "n": 2}, 400, "`n` is 2, but must be"),
        ({"prompt": "a", "stop": ""}, 400, "`stop` must be a text"),
        ({"prompt": "\ud800"}, 400, "half a surrogate pair"),
        ({"prompt": "word " * 500}, 400, "tokens, but must have < 24, the model's context"),
        (b"x" * (MOST_BODY_BYTES + 1), 413, "the body has 262,145 bytes, but must have <= 262,144"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(
    body: Any, status: int, message: str, server: LimitedServer
) -> None:
    got, answer = ask(server, body)
    assert got == status
    assert message in json.loads(answer)["error"]["message"]


def test_an_empty_prompt_begins_a_document(model: Checkpoint, server: LimitedServer) -> None:
    _, answer = ask(server, {"prompt": "", "max_tokens": 5, "temperature": 0, "seed": None})
    assert json.loads(answer)["choices"][0]["text"] == sample(model, "", max_tokens=5, temperature=0)


def test_models_other_paths_and_other_sites(server: LimitedServer) -> None:
    status, answer = ask(server, b"", "/v1/models", "GET")
    assert (status, [m["id"] for m in json.loads(answer)["data"]]) == (200, ["made"])
    status, answer = ask(server, b"", "/v1/chat/completions")
    assert status == 404
    assert "POST /v1/completions" in json.loads(answer)["error"]["message"]
    assert ask(server, {"prompt": "a"}, Origin="https://evil.test")[0] == 403
    assert ask(server, {"prompt": "a"}, Host="evil.test")[0] == 403
    with pytest.raises(SearchError, match="choose another with --port"):
        listen(Writer(None), "other", server.server_port)  # type: ignore[arg-type]


def test_a_full_queue_and_a_busy_model_refuse(model: Checkpoint) -> None:
    """One request holds the model; of two more, one may wait, in vain."""
    writer = Writer(model, max_seconds=0.05, max_waiting=1)
    request = CompletionRequest(prompt="a", max_tokens=1, temperature=0)
    with writer._turn:
        with pytest.raises(RefusedError, match="was busy for") as busy:
            writer.write(request)
        with writer._places, writer._places, pytest.raises(RefusedError, match="too many requests") as full:
            writer.write(request)
    assert busy.value.status == full.value.status == 429
    completion, pieces = writer.write(request)  # both have left their places
    list(pieces)
    assert completion.tokens == 1


def test_time_ends_a_completion(model: Checkpoint) -> None:
    completion, pieces = Writer(model, max_seconds=1e-9).write(CompletionRequest(prompt="a", max_tokens=20))
    list(pieces)
    assert (completion.tokens, completion.finish_reason) == (1, "length")


def test_a_reader_who_leaves_stops_the_model(model: Checkpoint) -> None:
    writer = Writer(model)
    completion, pieces = writer.write(CompletionRequest(prompt="a", max_tokens=2000, seed=1))
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    list(writer.write(CompletionRequest(prompt="a", max_tokens=1))[1])  # waits for its turn
    assert completion.tokens < 2000


@given(st.text("ab" + UNKNOWN), st.lists(st.text("ab", min_size=1, max_size=3), max_size=2))
def test_what_is_settled_stays(text: str, stops: list[str]) -> None:
    """However the text goes on, no stop text begins within what was sent, unless it was whole before."""
    settled = settled_length(text, tuple(stops))
    for stop in stops:
        for n in range(1, len(stop)):
            assert not (text.endswith(stop[:n]) and settled > len(text) - n)
    assert not text.endswith(UNKNOWN) or settled < len(text)  # half a character, so far


def test_top_p_leaves_the_fewest_that_have_the_probability() -> None:
    """Chances .5, .25, .15 and .1: of .6 the first two are left, in their proportion."""
    logits, generator = torch.tensor([0.5, 0.25, 0.15, 0.1]).log(), torch.Generator().manual_seed(0)
    drawn = [_draw(logits, 1.0, 4, generator, 0.6) for _ in range(600)]
    assert set(drawn) == {0, 1}
    assert drawn.count(0) == pytest.approx(400, abs=50)
    assert {_draw(logits, 1.0, 4, generator, 1e-9) for _ in range(20)} == {0}
