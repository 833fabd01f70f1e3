"""Where the dashboard listens, what it says, and when it opens a browser."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from typer.testing import CliRunner

from search.cli.main import app
from search.common.errors import SearchError
from search.common.loopback import own_pages_only
from search.common.signals import StopRequest
from search.show.dashboard import server as dashboard
from search.show.dashboard.server import Address, has_desktop, serve
from storage.server.database import Database, parse_url
from tests.conftest import CLI_SECONDS
from tests.forking.client import OURS, Forked
from tests.search.shown import full_study

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # as the commands do


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_this_machine_alone_needs_no_gateway(host: str) -> None:
    assert Address(host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "study.example.org", "", "localhost.example.org"])
def test_beyond_it_a_gateway_must_be_promised(host: str) -> None:
    with pytest.raises(SearchError, match=r"must be 127.0.0.1, or stand behind a gateway .* add --behind-gateway"):
        Address(host=host)
    assert Address(host=host, behind_gateway=True).host == host


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port that another program listens on, in the place of 8080, and the next one too."""
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with socket.socket() as one, socket.socket() as other:
            try:
                for offset, opened in enumerate((one, other)):
                    opened.bind(("127.0.0.1", port + offset))
                    opened.listen()
                with socket.socket() as free:
                    free.bind(("127.0.0.1", port + 2))
            except OSError:
                continue
            monkeypatch.setattr(dashboard, "DEFAULT_PORT", port)
            yield port
            return


def listen(database: Database, address: Address, study: str | None = None) -> tuple[list[str], list[str]]:
    """Serve until the page is opened; return the output and the page."""
    stop, output, urls = StopRequest(), list[str](), list[str]()

    def show(url: str) -> None:
        urls.append(url)
        stop.ask()

    serve(database, study, address, stop, output.append, show)
    return output, urls


def test_a_port_in_use_gives_way_to_the_next_that_is_free(database: Database, taken: int) -> None:
    output, urls = listen(database, Address())
    assert output[0] == f"port {taken} is in use by another program: this is port {taken + 2}"
    assert urls == [f"http://127.0.0.1:{taken + 2}/dashboard"]
    assert urls[0] in output[1]


def test_a_port_that_was_asked_for_is_that_or_none(database: Database, taken: int) -> None:
    """Behind a gateway too, which knows one port only."""
    for address in (Address(port=taken), Address(behind_gateway=True)):
        with pytest.raises(SearchError, match=rf"port {taken} can't be used .*choose another with --port"):
            listen(database, address)


def test_an_address_of_ipv6_is_served_and_shown_as_one(database: Database, taken: int) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    assert listen(database, Address(host="::1", port=taken + 2))[1] == [f"http://[::1]:{taken + 2}/dashboard"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:8080"}, 200),
        ({"Host": "localhost:9000"}, 200),  # through a tunnel from another port
        ({"Host": "[::1]:8080", "Origin": "http://[::1]:8080"}, 200),
        ({"Host": "rebound.example.org:8080"}, 403),  # whose DNS says 127.0.0.1
        ({"Host": "[", "Origin": "null"}, 403),
        ({"Host": "127.0.0.1:8080", "Origin": "https://example.org"}, 403),
        ({"Host": "127.0.0.1:8080", "Origin": "http://127.0.0.1:3000"}, 403),
    ],
)
def test_pages_of_other_sites_can_ask_nothing(headers: dict[str, str], status: int) -> None:
    """Whoever reaches it may write and delete, and every page in this machine's browser reaches it."""

    def app(environ: dict[str, str], start: Callable[..., None]) -> list[bytes]:
        start("200 OK", [])
        return [b"all studies"]

    output: list[str] = []
    environ = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    body = b"".join(own_pages_only(app)(environ, lambda line, _: output.append(line)))
    assert int(output[0].split()[0]) == status
    assert (body == b"all studies") == (status == 200)


@pytest.mark.parametrize("behind_gateway", [False, True])
def test_only_a_gateway_is_asked_by_another_name(database: Database, taken: int, behind_gateway: bool) -> None:
    stop, answers = StopRequest(), list[int]()

    def show(url: str) -> None:
        try:
            answers.append(urlopen(Request(url, headers={"Host": "study.example.org"}), timeout=30).status)
        except HTTPError as error:
            answers.append(error.code)
        stop.ask()

    serve(database, None, Address(port=taken + 2, behind_gateway=behind_gateway), stop, lambda line: None, show)
    assert answers == [200 if behind_gateway else 403]


def test_an_unknown_study_is_refused_before_anything_listens(database: Database) -> None:
    full_study(database)
    with pytest.raises(SearchError, match=r'no study is named "nosuch" in this database; it holds: shown\.'):
        listen(database, Address(), "nosuch")


@pytest.mark.parametrize(
    ("terminal", "env", "opens"),
    [
        (True, {"DISPLAY": ":0"}, True),
        (True, {"WAYLAND_DISPLAY": "wayland-0"}, True),
        (True, {"DISPLAY": ":10", "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}, False),
        (True, {}, False),
        (False, {"DISPLAY": ":0"}, False),
    ],
)
def test_a_browser_opens_by_itself_only_before_a_person(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, env: dict[str, str], opens: bool
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert has_desktop() == opens


def test_open_opens_the_studys_page_and_no_password_is_in_it(database: Database, tmp_path: Path) -> None:
    """The command itself, with a browser that writes down where it was sent."""
    study = full_study(database)
    url = database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    browser, sent = tmp_path / "browser", tmp_path / "sent"
    browser.write_text(f'#!/bin/sh\necho "$1" > {sent}.part && mv {sent}.part {sent}\n')
    browser.chmod(0o755)
    command = [*OURS, "dashboard", "--study", "shown", "--open"]
    env = {**os.environ, "LILM_SEARCH_STORAGE": url, "BROWSER": f"{browser} %s", "PYTHONUNBUFFERED": "1"}
    with Forked(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as server:
        try:
            waits = threading.Event()
            while not sent.exists() and server.poll() is None:
                waits.wait(0.05)
            page = sent.read_text().strip()
            with urlopen(page, timeout=30) as answer:
                assert b"Optuna Dashboard" in answer.read()
            server.send_signal(signal.SIGINT)
            output, _ = server.communicate(timeout=CLI_SECONDS)
        finally:
            server.kill()
    assert server.returncode == 0
    assert urlsplit(page).path == f"/dashboard/studies/{study.proxies._study_id}"
    assert page in output
    assert str(parse_url(url).password) not in page + output


def test_no_open_and_open_are_offered() -> None:
    help_text = CliRunner().invoke(app, ["dashboard", "--help"], env={"COLUMNS": "120"}).output
    assert "--open" in help_text
    assert "--no-open" in help_text
