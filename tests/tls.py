"""A real PostgreSQL that only speaks TLS: an authority and a server certificate made by openssl, SCRAM logins alone."""

import os
import subprocess
from pathlib import Path

from storage.server.embedded import START_SECONDS, _free_port, _unprivileged
from tests.conftest import _open_folder, _SystemServer

NAME = "db.lilm.test"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
SETTINGS = """
ssl = on
ssl_cert_file = 'server.crt'
ssl_key_file = 'server.key'
listen_addresses = '*'
unix_socket_directories = ''
max_connections = 100
log_line_prefix = '%e '
log_statement = all
fsync = off
"""


def make_authority(folder: Path, name: str = "ca") -> Path:
    """Make a certificate authority, and return its certificate."""
    certificate = folder / f"{name}.crt"
    _openssl(
        *("req", "-x509", "-days", "2", *NEW_KEY, "-subj", f"/CN={name}"),
        *("-keyout", str(folder / f"{name}.key"), "-out", str(certificate)),
    )
    return certificate


def make_certificate(folder: Path, authority: Path, names: str) -> None:
    """Make server.crt and server.key for these subject names, such as DNS:db.lilm.test,IP:10.0.0.1."""
    request, extension = folder / "server.csr", folder / "server.ext"
    extension.write_text(f"subjectAltName={names}\n")
    _openssl(
        *("req", *NEW_KEY, "-subj", "/CN=postgres"),
        *("-keyout", str(folder / "server.key"), "-out", str(request)),
    )
    _openssl(
        *("x509", "-req", "-days", "2", "-in", str(request), "-out", str(folder / "server.crt")),
        *("-CA", str(authority), "-CAkey", str(authority.with_suffix(".key")), "-CAcreateserial"),
        *("-extfile", str(extension)),
    )


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class TlsServer(_SystemServer):
    """The system's PostgreSQL, on every address of this machine, for encrypted logins with a password alone."""

    def __init__(self, names: str) -> None:
        self.folder = _open_folder()
        super().__init__(self.folder / "postgres", _unprivileged())
        self.make_reachable()
        self.authority = make_authority(self.folder)
        self._names = names
        self.url = self.ensure_running()

    @property
    def log(self) -> str:
        """Everything that the server has written, each line with its SQLSTATE."""
        return self._log.read_text(errors="replace")

    def _create(self) -> None:
        super()._create()
        make_certificate(self.folder, self.authority, self._names)
        for name in ("server.crt", "server.key"):
            target = self._data / name
            target.write_bytes((self.folder / name).read_bytes())
            target.chmod(0o600)
            os.chown(target, self._data.stat().st_uid, self._data.stat().st_gid)
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(SETTINGS)
        (self._data / "pg_hba.conf").write_text("hostssl all all all scram-sha-256\n")

    def _start(self) -> None:
        port = _free_port()
        self._write("server.json", f'{{"port": {port}}}')
        done = self._ctl("start", "-w", "-t", str(START_SECONDS), "-l", str(self._log), "-o", f"-p {port}")
        assert done.returncode == 0, self.log
