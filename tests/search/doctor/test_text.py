"""Troubles of a text; the hub's answers come from a real web server in its place."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import huggingface_hub.constants
import pytest

from model.config import DataConfig
from search.doctor.finding import Finding
from search.doctor.text import look


def only(source: Path | str, column: str = "text") -> Finding:
    (found,) = look(DataConfig(source=str(source), column=column, holdout_period=2, holdout_rows=1))
    return found


def test_a_text_that_is_well_and_one_that_is_too_long_to_be_read(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"text": f"row {i}"}) + "\n" for i in range(50)))
    assert (only(file).state, "50 documents" in only(file).found) == ("ok", True)
    ticks = count()
    config = DataConfig(source=str(file), holdout_period=2, holdout_rows=1)
    (found,) = look(config, clock=lambda: float(next(ticks)))
    assert found.found.startswith(f"{file}: the first 5 documents")


@pytest.mark.parametrize(
    ("content", "said", "cure"),
    [
        (None, "no file matches", "ls FILE"),
        (b'{"body": "a b c", "n": 1}\n', "has no key `text`", "--column body or n"),
        (b'{"text": "caf\xe9"}\n', "not UTF-8", "iconv"),
        (b"", "holds no text", ""),
        (b'{"text": 3}\n', "must be text", ""),
        (b'{"text": ' + b"[" * 9999 + b"]" * 9999 + b"}\n", "a.jsonl, line 1: its lists or objects are nested", ""),
        (b'[{"text": "a"}]\n', "is list, but must be an object with keys. The rows of one JSON array", ""),
        (b"{}\n", "has no key `text`; there are: none", ""),
        (b'{"text": "a single row"}\n', "holds one row of text, but needs two or more", ""),
    ],
)
def test_a_text_with_something_wrong(tmp_path: Path, content: bytes | None, said: str, cure: str) -> None:
    file = tmp_path / "a.jsonl"
    if content is not None:
        file.write_bytes(content)
    found = only(file)
    assert (found.state, said in found.found, cure in found.cure) == ("BAD", True, True), found
    assert cure or not found.cure


class _Hub(BaseHTTPRequestHandler):
    """Knows one data set, and another that is gated."""

    def do_GET(self) -> None:
        status, code, body = 404, "RepoNotFound", {"error": "Repository not found"}
        if self.path.startswith("/api/datasets/some/text"):
            status, code, body = 200, "", {"id": "some/text"}
        elif self.path.startswith("/api/datasets/some/gated"):
            status, code, body = 401, "GatedRepo", {"error": "Access is restricted"}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *parts: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_the_hub_is_asked_whether_we_may_have_it(hub: ThreadingHTTPServer) -> None:
    assert only("hf:some/text").state == "ok"
    for name, said in (("gated", "is gated"), ("none", "the hub knows no some/none")):
        found = only(f"hf:some/{name}")
        assert (found.state, said in found.found, "HF_TOKEN" in found.cure) == ("BAD", True, True), found


def test_a_hub_that_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    found = only("hf:some/text")
    assert (found.state, "the hub can't be asked for some/text" in found.found) == ("BAD", True)
