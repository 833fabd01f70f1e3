"""Pages as pictures, drawn by this machine's Chromium without a network; driven by its DevTools protocol over pipes."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search.common.errors import SearchError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    *("--headless", "--remote-debugging-pipe", "--hide-scrollbars", "--mute-audio", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
ANSWER_SECONDS = 120.0
"""Seconds that one answer may take: a small machine that is busy takes long to start a browser."""
ENDING_SECONDS = 5.0
"""Seconds that the browser has to end by itself, before it is killed."""
DRAWN = "document.fonts.ready.then(() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r))))"
PIXELS_PER_INCH = 96.0


def find() -> str | None:
    """Return the path of this machine's Chromium or Chrome, if it has one."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def screenshot(html: Path, width: int = 1000, scale: float = 2.0, *, dark: bool = False) -> bytes:
    """Return a page's whole length as PNG, `width` CSS pixels wide, with `scale` image pixels for each."""
    with open_page(html, width, scale, dark=dark) as page:
        size = page.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": width, "height": size["height"], "scale": 1}
        answer = page.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
    return base64.b64decode(answer["data"])


def print_pdf(html: Path, size: tuple[int, int] | None = None) -> bytes:
    """Return a page as PDF: on one sheet of `size` CSS pixels, or on A4 with the page's own print style."""
    how: dict[str, Any] = {"printBackground": True, "preferCSSPageSize": size is None}
    if size is None:
        how |= {"paperWidth": 8.27, "paperHeight": 11.69}
    else:
        margins = dict.fromkeys(("marginTop", "marginBottom", "marginLeft", "marginRight"), 0)
        how |= margins | {"paperWidth": size[0] / PIXELS_PER_INCH, "paperHeight": size[1] / PIXELS_PER_INCH}
    with open_page(html, size[0] if size else 1000) as page:
        answer = page.ask("Page.printToPDF", **how)
    return base64.b64decode(answer["data"])


def evaluate(html: Path, expression: str, width: int = 1000) -> Any:
    """Return the value of a JavaScript expression on a page; a promise is awaited."""
    with open_page(html, width) as page:
        return page.evaluate(expression)


class Page:
    """A page in a browser of its own."""

    def __init__(self, to: int, back: int) -> None:
        self._to_browser, self._from_browser = to, back
        self._unread = b""
        self._last_id = 0
        self._session: str | None = None

    def attach(self) -> None:
        """Open an empty page, which gets all further requests."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def ask(self, method: str, **arguments: Any) -> Any:
        """Return the answer to one request; raises `SearchError` if Chromium refuses it or doesn't answer."""
        self._last_id += 1
        message: dict[str, Any] = {"id": self._last_id, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        with contextlib.suppress(BrokenPipeError):  # that the browser has ended is reported below
            os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        answer = self._wait_for(lambda m: m.get("id") == self._last_id)
        if "error" in answer:
            raise SearchError(f"Chromium refused {method}: {answer['error']['message']}")
        return answer["result"]

    def show(self, html: Path) -> None:
        """Load a file and wait until it is drawn."""
        self.ask("Page.enable")
        self.ask("Page.navigate", url=html.resolve().as_uri())
        self._wait_for(lambda m: m.get("method") == "Page.loadEventFired")
        self.evaluate(DRAWN)

    def evaluate(self, expression: str) -> Any:
        """Return a JavaScript expression's value; a promise is awaited."""
        answer = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise SearchError(f"the page failed: {answer['exceptionDetails'].get('exception', {}).get('description')}")
        return answer["result"].get("value")

    def _wait_for(self, wanted: Callable[[Any], bool]) -> Any:
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            while b"\0" in self._unread:
                line, self._unread = self._unread.split(b"\0", 1)
                if wanted(message := json.loads(line)):
                    return message
            ready, _, _ = select.select([self._from_browser], [], [], max(0.0, deadline - time.monotonic()))
            more = os.read(self._from_browser, 1 << 20) if ready else None
            if more is None:
                raise SearchError(f"Chromium gave no answer within {ANSWER_SECONDS:.0f} s; write .html instead")
            if not more:
                raise SearchError("Chromium ended at once; see why: chromium --headless --dump-dom about:blank")
            self._unread += more


@contextmanager
def open_page(html: Path, width: int, scale: float = 1.0, *, dark: bool = False) -> Iterator[Page]:
    """Show a file in a browser of its own, which ends with the block; raises `SearchError` if there is no browser."""
    program = find()
    if program is None:
        raise SearchError(
            "a picture or a PDF is drawn by Chromium, which this machine doesn't have; "
            "install it (Debian: apt install chromium), or write .html"
        )
    place = tempfile.TemporaryDirectory(prefix="lilm-chromium-", ignore_cleanup_errors=True)
    with place as profile, _browser(program, Path(profile)) as (to, back):
        page = Page(to, back)
        page.attach()
        page.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=scale, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.ask("Emulation.setEmulatedMedia", features=[scheme])
        page.show(html)
        yield page


@contextmanager
def _browser(program: str, profile: Path) -> Iterator[tuple[int, int]]:
    """Start the browser with our pipes as its file descriptors 3 and 4; end it with all its processes."""
    inward, outward = _pipe(), _pipe()
    # Chromium's sandbox can't be used by root. It isn't needed: the pages are ours, and no network can be reached.
    flags = [*FLAGS, f"--user-data-dir={profile}", *(["--no-sandbox"] if os.geteuid() == 0 else []), "about:blank"]
    to_null = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in (0, 1, 2)]
    to_pipes = [(os.POSIX_SPAWN_DUP2, inward[0], 3), (os.POSIX_SPAWN_DUP2, outward[1], 4)]
    pid = os.posix_spawn(program, [program, *flags], os.environ, file_actions=[*to_null, *to_pipes], setpgroup=0)
    os.close(inward[0])
    os.close(outward[1])
    try:
        yield inward[1], outward[0]
    finally:
        os.close(inward[1])  # the browser takes this as a request to end
        os.close(outward[0])
        _end(pid)


def _end(pid: int) -> None:
    """Wait for a process that was asked to end; kill it and its group if it doesn't."""
    deadline = time.monotonic() + ENDING_SECONDS
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _pipe() -> tuple[int, int]:
    """Return a pipe's two file descriptors, both from 10 on, since the browser needs those below."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return moved[0], moved[1]
