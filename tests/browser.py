"""A real Chromium without a window, which notes errors on a page's console and calls to other hosts."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, Page, Request, sync_playwright

WIDTHS = (360, 1440)
"""A phone and a desktop, in CSS pixels."""
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
OWN = ("127.0.0.1", "localhost")


def chromium() -> Path:
    """The machine's Chromium; skips the test where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("this machine has no Chromium")
    return Path(found)


class Watched:
    """A page and what it did wrong."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("file", "data", "blob") and url.hostname not in OWN:
            self.elsewhere.append(request.url)

    def assert_quiet(self) -> None:
        """No console error or warning, and no request to another host."""
        assert self.errors == []
        assert self.elsewhere == []


@contextmanager
def open_page(width: int, *, dark: bool = False, height: int = 900) -> Iterator[Watched]:
    """An empty page of so many CSS pixels, in a browser of its own."""
    program = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=list(QUIET))
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        yield Watched(context.new_page())
        browser.close()
