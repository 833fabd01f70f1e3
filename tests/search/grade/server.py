"""A chat endpoint on a real socket that speaks OpenAI's protocol, and does what a test tells it to."""

import json
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["Handler"], None]
"""Answers a request."""
GRADES = {"grammar": 7, "creativity": 5, "consistency": 6, "plot": 4}
USED = {"prompt_tokens": 300, "completion_tokens": 20, "total_tokens": 320}


@dataclass
class Seen:
    """What the server has seen."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @property
    def completions(self) -> list[str]:
        """The completions to be judged, in the order of the requests."""
        return [json.loads(body["messages"][-1]["content"])["completion"] for body in self.bodies]


class Handler(BaseHTTPRequestHandler):
    """A request; a reply uses what is below."""

    server: "JudgeServer"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.bodies.append(body)
            self.server.seen.authorizations.append(self.headers["Authorization"])
            self.server.seen.paths.append(self.path)
            number = len(self.server.seen.bodies)
        self.body, self.number = body, number
        self.server.reply(self)

    def send(self, status: int, content: Any, **headers: str) -> None:
        """Send JSON, or text as it is."""
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def say(self, text: Any, used: dict[str, int] | None = USED) -> None:
        """Send a chat's answer."""
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        self.send(
            200, {"id": "c1", "object": "chat.completion", "choices": [choice], **({"usage": used} if used else {})}
        )

    def cut(self) -> None:
        """Break the connection in the middle of an answer."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices": [')
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


class JudgeServer(ThreadingHTTPServer):
    """The server, and what it has seen."""

    daemon_threads = True

    def __init__(self, reply: Reply) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply, self.seen, self.lock = reply, Seen(), threading.Lock()
        self.model = uuid.uuid4().hex[:8]  # answers of other tests are kept under other names

    @property
    def url(self) -> str:
        """The base that --judge takes."""
        return f"http://127.0.0.1:{self.server_port}/v1"


def graded(grades: Any = GRADES) -> Reply:
    """A reply with these grades, after some words."""
    return lambda handler: handler.say(f"Short sentences, few ideas.\n{json.dumps(grades)}")


def refused(status: int, message: str, code: str | None = None, **headers: str) -> Reply:
    """A reply with an error in OpenAI's form."""
    return lambda handler: handler.send(status, {"error": {"message": message, "code": code}}, **headers)


def in_turn(*replies: Reply) -> Reply:
    """Each request gets the next reply; the last one's goes on."""
    return lambda handler: replies[min(handler.number, len(replies)) - 1](handler)


@contextmanager
def serving(reply: Reply) -> Iterator[JudgeServer]:
    """A running server."""
    with JudgeServer(reply) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()
