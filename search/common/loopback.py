"""HTTP servers for this machine alone: threads, quiet logs, and no answers to other sites' pages."""

import ipaddress
import logging
import re
import socket
import socketserver
from collections.abc import Callable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer


def is_loopback(host: str) -> bool:
    """Return whether a name or address is this machine's own, which no other reaches."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """A server with a thread for each request."""

    daemon_threads = True


class _Server6(Server):
    address_family = socket.AF_INET6


def server_class(host: str) -> type[Server]:
    """Return the class of server for this host's kind of address."""
    return _Server6 if ":" in host else Server


class QuietHandler(WSGIRequestHandler):
    """A handler that logs for debugging alone."""

    def log_message(self, format: str, *args: object) -> None:
        """Log a line."""
        logging.getLogger(__name__).debug(format, *args)

    def address_string(self) -> str:
        """Return the client's address; its name would keep each request waiting for the DNS."""
        return str(self.client_address[0])


def own_pages_only(app: Any) -> Any:
    """Return the application with requests from other sites' pages refused.

    Such a page's requests come from another origin, or name a host of its own that resolves to this machine (DNS
    rebinding).
    """

    def guarded(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        host = environ.get("HTTP_HOST", "")
        origin = environ.get("HTTP_ORIGIN", f"http://{host}").partition("://")[2]
        if is_loopback(re.sub(r":\d+$", "", host).strip("[]")) and origin == host:
            return app(environ, start)
        start("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"This server answers this machine's own pages; a dashboard for others needs a gateway.\n"]

    return guarded
