"""OpenAI's `/v1/completions` and `/v1/models` over HTTP, on a loopback address alone."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.simple_server import make_server

import bottle

from search.common.errors import SearchError
from search.common.loopback import QuietHandler, Server, own_pages_only
from search.common.signals import StopRequest
from search.serve.request import MOST_BODY_BYTES, CompletionRequest, RefusedError, StreamOptions, parse
from search.serve.writer import Completion, Writer

HOST, DEFAULT_PORT = "127.0.0.1", 8000
POLL_SECONDS = 1.0
SILENT_SECONDS = 30.0
"""Seconds that a client may take for each part of its request, and for taking each part of the answer."""
MOST_CONNECTIONS = 32
"""Connections at a time; further ones are closed at once."""


class _Handler(QuietHandler):
    timeout = SILENT_SECONDS


class LimitedServer(Server):
    """A server with a limit on its connections, each of which has a thread."""

    _free = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle a connection, or close it if there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Handle a connection in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


def application(writer: Writer, name: str) -> Any:
    """Return the WSGI application, whose model has this name."""
    app = bottle.Bottle()

    @app.get("/v1/models")  # type: ignore[untyped-decorator]
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "lilm-search"}]}

    @app.post("/v1/completions")  # type: ignore[untyped-decorator]
    def completions() -> Any:
        try:
            request, options = parse(_body())
            completion, pieces = writer.write(request)
        except RefusedError as error:
            return _error(error.status, str(error))
        head = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": name,
        }
        if request.stream:
            bottle.response.content_type = "text/event-stream; charset=utf-8"
            bottle.response.set_header("Cache-Control", "no-cache")
            return _events(head, request, options, completion, pieces)
        text = "".join(pieces)
        return {**head, "choices": [_choice(text, completion.finish_reason)], "usage": _usage(completion)}

    def refuse(error: Any) -> str:
        """Return any other error in the form that clients read."""
        bottle.response.content_type = "application/json"
        message = f"{error.body}; there are POST /v1/completions and GET /v1/models"
        return json.dumps(_message(error.status_code, message if error.status_code in (404, 405) else "internal error"))

    app.default_error_handler = refuse
    return own_pages_only(app)


def _body() -> bytes:
    try:
        length = bottle.request.content_length
    except ValueError:
        length = -1
    if length < 0:
        raise RefusedError(411, "the request must say its body's Content-Length")
    if length > MOST_BODY_BYTES:
        bottle.request.environ["wsgi.input"].read(min(length, 2 * MOST_BODY_BYTES))  # one still sending hears no answer
        raise RefusedError(413, f"the body has {length:,} bytes, but must have <= {MOST_BODY_BYTES:,}")
    return bytes(bottle.request.environ["wsgi.input"].read(length))


def _error(status: int, message: str) -> dict[str, Any]:
    bottle.response.status = status
    return _message(status, message)


def _message(status: int, message: str) -> dict[str, Any]:
    kind = "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _choice(text: str, finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}


def _usage(completion: Completion) -> dict[str, int]:
    prompt, written = completion.prompt_tokens, completion.tokens
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


def _events(
    head: dict[str, Any],
    request: CompletionRequest,
    options: StreamOptions,
    completion: Completion,
    pieces: Iterator[str],
) -> Iterator[str]:
    """Yield a completion as server-sent events, one for each piece of text."""
    try:
        for piece in pieces:
            yield _event({**head, "choices": [_choice(piece, None)]})
        yield _event({**head, "choices": [_choice("", completion.finish_reason)]})
        if options.include_usage:
            yield _event({**head, "choices": [], "usage": _usage(completion)})
        yield "data: [DONE]\n\n"
    finally:
        pieces.close()  # type: ignore[attr-defined]


def _event(table: dict[str, Any]) -> str:
    return f"data: {json.dumps(table)}\n\n"


def listen(writer: Writer, name: str, port: int) -> LimitedServer:
    """Return a server of the model; port 0 is any free one. Raises `SearchError` if the port is in use."""
    try:
        return make_server(HOST, port, application(writer, name), server_class=LimitedServer, handler_class=_Handler)
    except OSError as error:
        raise SearchError(f"port {port} can't be used ({error.strerror}); choose another with --port") from None


def serve(writer: Writer, name: str, port: int, stop: StopRequest, say: Callable[[str], None]) -> None:
    """Serve until `stop` is set."""
    with listen(writer, name, port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        say(f"{name} on http://{HOST}:{server.server_port}/v1 (POST /v1/completions, GET /v1/models)\nCtrl-C ends it.")
        while not stop.wait(POLL_SECONDS):
            pass
        server.shutdown()
