"""The server of optuna-dashboard on a study's storage, reachable from this machine alone unless behind a gateway.

It has no login and can write and delete: anyone who can reach its port has the rights of its database role.
"""

import contextlib
import errno
import os
import sys
import threading
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

from optuna_dashboard import wsgi

from search.common.errors import SearchError
from search.common.loopback import QuietHandler, is_loopback, own_pages_only, server_class
from search.common.signals import StopRequest
from search.study.artifacts import ReadArtifacts
from search.study.identity import halves
from search.study.study import known_name
from storage.redaction import shown_address
from storage.server.database import Database

POLL_SECONDS = 1.0
DEFAULT_PORT = 8080
MORE_PORTS = 20
"""Number of following ports that are tried if another program uses the first."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Address on which the dashboard listens.

    Raises `SearchError` if other machines can reach it, and it isn't behind a gateway.
    """

    host: str = "127.0.0.1"
    """An address of this machine, or its name."""
    port: int | None = None
    """TCP port; None: 8080, or without a gateway the next free one."""
    behind_gateway: bool = False
    """Whether, by the user's word, it is behind a gateway with TLS and a login."""

    def __post_init__(self) -> None:
        if not self.behind_gateway and not is_loopback(self.host):
            shown = shown_address(self.host) if "@" in self.host else self.host
            raise SearchError(
                f'--host is "{shown}", which other machines reach, but the dashboard has no login: '
                "it must be 127.0.0.1, or stand behind a gateway that has one (docs/deploy.md); "
                "then add --behind-gateway"
            )

    @property
    def url_host(self) -> str:
        """The host as it is written in a URL."""
        return f"[{self.host}]" if ":" in self.host else self.host


def serve(
    database: Database,
    study: str | None,
    address: Address,
    stop: StopRequest,
    say: Callable[[str], None],
    open_page: Callable[[str], object] | None = None,
) -> None:
    """Serve until `stop` is set; `open_page` is called with the page's URL.

    Nothing is written unless a visitor writes, so that a role that may only read is enough. Raises `SearchError` if
    the address is in use or the study unknown.
    """
    name = known_name(database, study) if study else None
    if name is not None:
        halves(database, name)  # refuses a study that isn't whole before listening
    app = wsgi(database.storage, artifact_store=ReadArtifacts(database))
    server = _listen(app if address.behind_gateway else own_pages_only(app), address, say)
    with server:
        page = _print_pages(database, name, f"http://{address.url_host}:{server.server_port}/dashboard", say)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        if open_page is not None:
            open_page(page)
        while not stop.wait(POLL_SECONDS):
            pass
        server.shutdown()


def _listen(app: Any, address: Address, say: Callable[[str], None]) -> WSGIServer:
    """Return a server on the requested port, or on the first free one; print it if that is another."""
    first, kind = address.port or DEFAULT_PORT, server_class(address.host)
    others = 0 if address.port or address.behind_gateway else MORE_PORTS
    for port in range(first, first + others + 1):
        try:
            server = make_server(address.host, port, app, server_class=kind, handler_class=QuietHandler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port < first + others:
                continue
            tried = f"port {first}" if not others else f"no port from {first} to {port}"
            raise SearchError(
                f"{address.host} {tried} can't be used ({error.strerror}); choose another with --port"
            ) from None
        if port != first:
            say(f"port {first} is in use by another program: this is port {port}")
        return server
    raise AssertionError("a port was found, or an error raised")


def _print_pages(database: Database, name: str | None, root: str, say: Callable[[str], None]) -> str:
    """Print the pages' URLs; return the first."""
    pages = [("all studies:  ", root)]
    if name is not None:
        ids = [part._study_id for part in halves(database, name)]
        labels = ("proxies:      ", "confirmations:")
        pages = [(label, f"{root}/studies/{i}") for label, i in zip(labels, ids, strict=True)]
    for label, page in pages:
        say(f"{label} {page}")
    say("Ctrl-C ends it.")
    return pages[0][1]


def has_desktop() -> bool:
    """Return whether this is a terminal on a desktop, so that its user can see a browser's window."""
    seen = sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return sys.stdout.isatty() and seen and "SSH_CONNECTION" not in os.environ


def open_browser(url: str) -> None:
    """Open the page in the user's browser; failures are ignored, since its URL is printed anyway."""
    with contextlib.suppress(webbrowser.Error, OSError):
        webbrowser.open(url)
