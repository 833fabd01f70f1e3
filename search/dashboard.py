"""optuna-dashboard on a study's own storage, bound to this machine."""

import logging
import socketserver
import threading
from collections.abc import Callable
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna_dashboard import wsgi

from search.artifacts import ReadArtifacts
from search.errors import SearchError
from search.stop import StopRequest
from search.study import LinkedStudy

POLL_SECONDS = 1.0


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        logging.getLogger(__name__).debug(format, *args)


def serve(study: LinkedStudy, port: int, stop: StopRequest, say: Callable[[str], None]) -> None:
    """Serve until stopping is asked for; raises `SearchError` when the port is taken."""
    app = wsgi(study.database.storage, artifact_store=ReadArtifacts(study.database))
    try:
        server = make_server("127.0.0.1", port, app, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise SearchError(f"port {port} can't be used ({error.strerror}); choose another with --port") from None
    root = f"http://127.0.0.1:{port}/dashboard/studies"
    say(f"proxies:       {root}/{study.proxies._study_id}")
    say(f"confirmations: {root}/{study.confirmations._study_id}")
    say("Ctrl-C ends it.")
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        while not stop.wait(POLL_SECONDS):
            pass
        server.shutdown()
