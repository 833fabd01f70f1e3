"""optuna-dashboard on a study's own storage, bound to this machine unless it stands behind a gateway.

It has no login and can write and delete: whoever reaches its port may do what its database role may do.
"""

import ipaddress
import logging
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna_dashboard import wsgi

from search.artifacts import ReadArtifacts
from search.errors import SearchError
from search.stop import StopRequest
from search.study import confirm_name, known_name
from storage.database import Database

POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the dashboard listens; raises `SearchError` for one that others reach with no gateway before it."""

    host: str = "127.0.0.1"
    """An address of this machine, or its name."""
    port: int = 8080
    """TCP port."""
    behind_gateway: bool = False
    """The user says that a gateway with TLS and a login stands before it."""

    def __post_init__(self) -> None:
        if not self.behind_gateway and not _is_loopback(self.host):
            raise SearchError(
                f'--host is "{self.host}", which other machines reach, but the dashboard has no login: it must be '
                "127.0.0.1, or stand behind a gateway that has one (docs/deploy.md); then add --behind-gateway"
            )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        logging.getLogger(__name__).debug(format, *args)

    def address_string(self) -> str:
        return str(self.client_address[0])  # else each request would wait for a name from the DNS


def serve(
    database: Database, study: str | None, address: Address, stop: StopRequest, say: Callable[[str], None]
) -> None:
    """Serve until stopping is asked for; raises `SearchError` when the address is taken or the study unknown.

    Nothing is written unless a visitor writes: a database role that may only read is enough.
    """
    name = known_name(database, study) if study else None
    app = wsgi(database.storage, artifact_store=ReadArtifacts(database))
    try:
        server = make_server(address.host, address.port, app, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise SearchError(
            f"{address.host} port {address.port} can't be used ({error.strerror}); choose another with --port"
        ) from None
    _say_where(database, name, f"http://{address.host}:{address.port}/dashboard", say)
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        while not stop.wait(POLL_SECONDS):
            pass
        server.shutdown()


def _say_where(database: Database, name: str | None, root: str, say: Callable[[str], None]) -> None:
    if name is None:
        say(f"all studies:   {root}")
    else:
        ids = (database.storage.get_study_id_from_name(n) for n in (name, confirm_name(name)))
        for label, study_id in zip(("proxies:      ", "confirmations:"), ids, strict=True):
            say(f"{label} {root}/studies/{study_id}")
    say("Ctrl-C ends it.")
