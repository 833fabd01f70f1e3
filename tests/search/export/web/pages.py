"""Pages of a small network, and a plain file server for them."""

import functools
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import tomli_w
from playwright.sync_api import Page, expect

from model.formats.checkpoint import Checkpoint
from model.formats.safetensors_folder import files_of

PATIENCE = 120_000.0
"""Milliseconds that a page may take on a busy machine before a test fails."""
TABLE: dict[str, Any] = {
    "study": "a <study> & more",
    "result": {"val_bpb": 2.29, "interval_95": [2.27, 2.31], "seeds": [1, 2, 3], "mean_bpb": 2.28},
    "data": {"source": "builtin"},
    "tokenizer": {"kind": "unigram"},
}
BEGINNING = "# A card\n\n<b>Not bold</b>, for it is text.\n"
LIMITS = "\n## Limits\n\nMany.\n"
CARD = f"---\ntags: []\n---\n{BEGINNING}\n## How to load it\n\nOtherwise.\n{LIMITS}"


def release_of(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Return what a page is made of, as a release has it."""
    return {**files_of(checkpoint), "export.toml": tomli_w.dumps(TABLE).encode(), "README.md": CARD.encode()}


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder as `python -m http.server` does, without headers of any kind; yield its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def opened(page: Page, url: str) -> None:
    """Open a page and wait until its model is loaded."""
    page.goto(url)
    expect(page.locator("#status")).to_have_text("Ready.", timeout=PATIENCE)


def settled(page: Page, values: Mapping[str, str]) -> None:
    """Set sliders and fields, by their ids."""
    for name, value in values.items():
        page.locator(f"#{name}").fill(value)


def written(page: Page, prompt: str) -> str:
    """Let the page write after a prompt; return what it has written at the end."""
    page.locator("#prompt").fill(prompt)
    page.get_by_role("button", name="Write").click()
    expect(page.locator("#status")).to_contain_text("token", timeout=PATIENCE)
    return page.locator("#written").text_content() or ""
