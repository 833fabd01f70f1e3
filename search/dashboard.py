"""optuna-dashboard on a study's own storage, bound to this machine unless it stands behind a gateway.

It has no login and can write and delete: whoever reaches its port may do what its database role may do.
"""

import contextlib
import errno
import ipaddress
import logging
import os
import re
import socket
import socketserver
import sys
import threading
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna_dashboard import wsgi

from search.artifacts import ReadArtifacts
from search.errors import SearchError
from search.identity import halves
from search.stop import StopRequest
from search.study import known_name
from storage.database import Database
from storage.redaction import shown_address

POLL_SECONDS = 1.0
PORT = 8080
OTHER_PORTS = 20
"""How many ports after that are tried where another program has it."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the dashboard listens; raises `SearchError` for one that others reach with no gateway before it."""

    host: str = "127.0.0.1"
    """An address of this machine, or its name."""
    port: int | None = None
    """TCP port; None: 8080, or behind no gateway the next that is free."""
    behind_gateway: bool = False
    """The user says that a gateway with TLS and a login stands before it."""

    def __post_init__(self) -> None:
        if not self.behind_gateway and not _is_loopback(self.host):
            shown = shown_address(self.host) if "@" in self.host else self.host
            raise SearchError(
                f'--host is "{shown}", which other machines reach, but the dashboard has no login: '
                "it must be 127.0.0.1, or stand behind a gateway that has one (docs/deploy.md); "
                "then add --behind-gateway"
            )

    @property
    def shown(self) -> str:
        """The host as it stands in a URL."""
        return f"[{self.host}]" if ":" in self.host else self.host


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        logging.getLogger(__name__).debug(format, *args)

    def address_string(self) -> str:
        return str(self.client_address[0])  # else each request would wait for a name from the DNS


def serve(
    database: Database,
    study: str | None,
    address: Address,
    stop: StopRequest,
    say: Callable[[str], None],
    show: Callable[[str], object] | None = None,
) -> None:
    """Serve until stopping is asked for; `show` is given the page's URL, to open it.

    Nothing is written unless a visitor writes: a database role that may only read is enough. Raises `SearchError`
    when the address is taken or the study unknown.
    """
    name = known_name(database, study) if study else None
    if name is not None:
        halves(database, name)  # which refuses what isn't whole, before a port is taken
    app = wsgi(database.storage, artifact_store=ReadArtifacts(database))
    server = _listen(app if address.behind_gateway else _ours_alone(app), address, say)
    with server:
        page = _say_where(database, name, f"http://{address.shown}:{server.server_port}/dashboard", say)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        if show is not None:
            show(page)
        while not stop.wait(POLL_SECONDS):
            pass
        server.shutdown()


def _ours_alone(app: Any) -> Any:
    """Refuse what pages of other sites have this machine's browser ask: whoever asks may write and delete.

    Such a page asks from another origin, or by a name of its own that it had the DNS say is this machine.
    """

    def guarded(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        host = environ.get("HTTP_HOST", "")
        origin = environ.get("HTTP_ORIGIN", f"http://{host}").partition("://")[2]
        if _is_loopback(re.sub(r":\d+$", "", host).strip("[]")) and origin == host:
            return app(environ, start)
        start("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"This dashboard answers this machine's own pages; before others set a gateway (--behind-gateway).\n"]

    return guarded


def _listen(app: Any, address: Address, say: Callable[[str], None]) -> WSGIServer:
    """Return a server on the port asked for, or on the first that is free; says so where that is another."""
    first, kind = address.port or PORT, _Server6 if ":" in address.host else _Server
    others = 0 if address.port or address.behind_gateway else OTHER_PORTS
    for port in range(first, first + others + 1):
        try:
            server = make_server(address.host, port, app, server_class=kind, handler_class=_Quiet)
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


def _say_where(database: Database, name: str | None, root: str, say: Callable[[str], None]) -> str:
    """Say the pages; returns the first."""
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
    """Return whether somebody sits before this terminal who can see a browser's window."""
    seen = sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return sys.stdout.isatty() and seen and "SSH_CONNECTION" not in os.environ


def open_browser(url: str) -> None:
    """Open the page in the user's browser, which may fail in silence: its URL is printed anyway."""
    with contextlib.suppress(webbrowser.Error, OSError):
        webbrowser.open(url)
