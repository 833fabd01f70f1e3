"""A PostgreSQL of our own that may be stopped, restarted or crashed, and keeps its address."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from storage.server.embedded import _free_port, _Server, _unprivileged

SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "''", "max_connections": "300"}


class Server(_Server):
    """Listens on one port for its whole life."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        super().__init__(folder, _unprivileged())
        self.port = _free_port()
        self.settings = {**SETTINGS, "port": str(self.port), **settings}

    def start(self) -> str:
        """Create and start it; returns its URL."""
        self.make_reachable()
        return self.ensure_running()

    def _start(self) -> None:
        self._write("server.json", f'{{"port": {self.port}}}')
        options = " ".join(f"-c {key}={value}" for key, value in self.settings.items())
        done = self._ctl("start", "-w", "-t", "60", "-l", str(self._log), "-o", options)
        if done.returncode:
            raise RuntimeError(f"PostgreSQL can't be started: {done.stderr}{self._log.read_text()[-500:]}")

    def restart(self, mode: str) -> None:
        """Restart it: `fast` ends every session, `immediate` is a crash with its recovery."""
        done = self._ctl("restart", "-m", mode, "-w", "-t", "60", "-l", str(self._log))
        if done.returncode:
            raise RuntimeError(f"PostgreSQL can't be restarted: {done.stderr}{self._log.read_text()[-500:]}")

    def discard(self) -> None:
        """Stop it without a last write to the disk: its folder goes too."""
        self._ctl("stop", "-m", "immediate", "-w", "-t", "60")

    def pid(self) -> int:
        """Return its process."""
        return int(self._run("head", "-1", str(self._data / "postmaster.pid")).stdout)

    def resume(self) -> None:
        """Start it again after `stop`."""
        self._start()


@contextlib.contextmanager
def server(**settings: str) -> Iterator[Server]:
    """Yield a server that is gone afterwards; PostgreSQL runs as another user when we are root."""
    folder = Path(tempfile.mkdtemp(prefix="lilm-chaos-"))
    folder.chmod(0o755)
    found = Server(folder / "postgres", settings)
    try:
        yield found
    finally:
        found.discard()
        shutil.rmtree(folder, ignore_errors=True)
