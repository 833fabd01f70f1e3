"""The gateway's own configuration in a real nginx, before the real dashboard on the real server."""

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest

from storage.server.database import connect
from storage.server.embedded import _free_port
from tests.conftest import CLI_SECONDS
from tests.deploy import machine

RIGHT = "Basic " + b64encode(f"lilm:{machine.GATEWAY_PASSWORD}".encode()).decode()
WRONG = "Basic " + b64encode(b"lilm:Wr0ng-Pa55word").decode()


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str


@dataclass
class Gateway:
    port: int
    authority: Path
    log: Path
    study_id: int

    def ask(
        self, path: str = "/dashboard", method: str = "GET", login: str | None = RIGHT, address: str = "127.0.0.1"
    ) -> Answer:
        trust = ssl.create_default_context(cafile=str(self.authority))
        connection = http.client.HTTPSConnection(
            "localhost", self.port, context=trust, timeout=60, source_address=(address, 0)
        )
        connection.request(method, path, headers={"Authorization": login} if login else {})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return Answer(answer.status, answer.headers, text)


def configuration(server: machine.Server, port: int, dashboard: int) -> str:
    """The file as it stands, with this machine's ports and folders for the container's."""
    text = (machine.ROOT / "deploy" / "gateway.conf").read_text(encoding="utf-8")
    places = {
        " /tmp/": f" {server.folder}/out/gateway/",
        "listen 8443 ssl": f"listen 127.0.0.1:{port} ssl",
        "http://dashboard:8080": f"http://127.0.0.1:{dashboard}",
        " /tls/": f" {server.folder}/out/gateway/",
    }
    for place, here in places.items():
        assert place in text
        text = text.replace(place, here)
    return text


def wait_until_open(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture(scope="module")
def gateway(server: machine.Server) -> Iterator[Gateway]:
    nginx = shutil.which("nginx")
    if nginx is None:
        pytest.skip("this machine has no nginx")
    opened = connect(server.owner_url())
    study = optuna.create_study(study_name="shown", storage=opened.storage)
    study.add_trial(optuna.trial.create_trial(value=1.25))
    opened.close()
    port, dashboard_port = _free_port(), _free_port()
    services = machine.compose()["services"]
    arguments = services["dashboard"]["command"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(machine.ROOT), "LILM_SEARCH_STORAGE": server.reader_url()}
    file = server.folder / "gateway.conf"
    file.write_text(configuration(server, port, dashboard_port))
    assert services["gateway"]["entrypoint"][:2] == ["nginx", "-c"]
    log = server.folder / "nginx.log"
    log.touch()
    shutil.chown(log, *(int(part) for part in machine.owner_spec().split(":")))
    started = [
        ([sys.executable, "-m", "search", *arguments, "--port", str(dashboard_port)], env, {}),
        ([nginx, "-c", str(file), *services["gateway"]["entrypoint"][3:]], {}, machine.as_postgres()),
    ]
    processes = []
    try:
        with log.open("wb") as output:
            for command, its_env, who in started:
                processes.append(subprocess.Popen(command, env=its_env, cwd="/", stdout=output, stderr=output, **who))
        for process, open_port in zip(processes, (dashboard_port, port), strict=True):
            wait_until_open(process, open_port, log)
        yield Gateway(port, server.folder / "out" / "gateway" / "ca.crt", log, study._study_id)
    finally:
        for process in processes:
            process.terminate()
            process.wait(CLI_SECONDS)


def test_the_page_and_the_study_come_with_the_right_password(gateway: Gateway) -> None:
    page = gateway.ask()
    assert page.status == 200
    assert "<title>Optuna Dashboard</title>" in page.text
    assert '"shown"' in gateway.ask("/api/studies").text
    assert "1.25" in gateway.ask(f"/api/studies/{gateway.study_id}?after=0").text
    assert gateway.ask(method="HEAD").status == 200


@pytest.mark.parametrize("login", [None, WRONG, "Basic bGlsbTo=", "Bearer x", "Basic !"])
def test_without_it_nothing_comes(gateway: Gateway, login: str | None) -> None:
    for path in ("/", "/dashboard", "/api/studies", "/static/bundle.js", "/gateway-healthy"):
        answer = gateway.ask(path, login=login, address="127.0.0.2")
        assert answer.status == 401
        assert "Optuna" not in answer.text


@pytest.mark.parametrize("login", [None, RIGHT])
def test_nothing_is_written(gateway: Gateway, login: str | None) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"):
        assert gateway.ask(f"/api/studies/{gateway.study_id}", method, login, address="127.0.0.3").status == 405
    assert '"shown"' in gateway.ask("/api/studies", address="127.0.0.3").text


def test_past_the_gateway_the_role_still_refuses_to_write(gateway: Gateway, server: machine.Server) -> None:
    """The dashboard itself, with no gateway before it: its own role can't delete."""
    text = (server.folder / "gateway.conf").read_text()
    port = int(text.split("http://127.0.0.1:")[1].split(";")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("DELETE", f"/api/studies/{gateway.study_id}")
    assert connection.getresponse().status >= 400
    connection.close()
    assert '"shown"' in gateway.ask("/api/studies").text


def test_plain_http_is_sent_to_https(gateway: Gateway) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    connection.request("GET", "/dashboard", headers={"Authorization": RIGHT})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (301, f"https://127.0.0.1:{gateway.port}/dashboard")
    assert b"Optuna" not in answer.read()
    connection.close()


def test_browsers_are_told_to_be_strict(gateway: Gateway) -> None:
    for answer in (gateway.ask(), gateway.ask(login=None)):
        assert len(answer.headers.get_all("Content-Security-Policy", [])) == 1
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert "/" not in answer.headers["Server"]  # no version


def test_old_tls_is_refused(gateway: Gateway) -> None:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{gateway.port}", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]
    done = machine.run(command, {"PATH": os.environ["PATH"]}, "")
    assert "alert protocol version" in done.stderr


def test_the_health_check_says_nothing_and_needs_no_login(gateway: Gateway) -> None:
    """The service's own command, at this port."""
    test = machine.compose()["services"]["gateway"]["healthcheck"]["test"]
    assert test[:2] == ["CMD", "curl"]
    answer = gateway.ask("/gateway-health", login=None)
    assert (answer.status, answer.text) == (204, "")
    if shutil.which("curl"):
        places = [t.replace("/tls/ca.crt", str(gateway.authority)).replace(":8443", f":{gateway.port}") for t in test]
        assert machine.run(places[1:], {"PATH": os.environ["PATH"]}).returncode == 0


def test_who_guesses_fast_is_slowed_down(gateway: Gateway) -> None:
    seen = {gateway.ask(login=WRONG, address="127.0.0.4").status for _ in range(120)}
    assert seen == {401, 429}
    assert gateway.ask(address="127.0.0.5").status == 200  # others are not


def test_no_password_reaches_a_log(gateway: Gateway, server: machine.Server) -> None:
    gateway.ask()
    log = gateway.log.read_text()
    assert '"GET /dashboard" 200' in log
    for secret in (machine.GATEWAY_PASSWORD, RIGHT.split()[1], (server.keys / "reader_password").read_text().strip()):
        assert secret not in log
