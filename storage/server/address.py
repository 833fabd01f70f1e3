"""The address of the study's server: passwords from private files, and TLS that proves the server's identity."""

import ipaddress
import logging
import os
import ssl
import stat
import tempfile
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from psycopg2.extensions import libpq_version
from sqlalchemy import exc

from storage.errors import StorageError
from storage.redaction import has_secret, hide_address, hide_secret, is_broken, redact, shown_address

STORAGE_FILE = "LILM_SEARCH_STORAGE_FILE"
"""Environment variable with the path of a file that holds the URL."""
PASSWORD_FILE = "LILM_SEARCH_PASSWORD_FILE"
"""Environment variable with the path of a file that holds the password."""
CA = "LILM_SEARCH_CA"
"""Environment variable with the certificate authority: a file's path, or its PEM text."""
UNPROVEN_MODES = ("disable", "require", "verify-ca")
"""TLS modes that leave something unproven; they are accepted if the URL itself names them."""

_BUNDLES = (
    *("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"),
    *("/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem"),
)


ENCODING = (
    "in a USER or PASSWORD, signs are percent-encoded: @ is %40, : %3A, / %2F, ? %3F, # %23, % %25, a space %20, so "
    "that a@b is written a%40b. This asks for a password and prints it so: "
    "python3 -c 'import getpass, urllib.parse as u; print(u.quote(getpass.getpass(), safe=\"\"))'"
)
"""Explanation of how a login is written into an address."""


def check_address(url: str) -> None:
    """Raise `StorageError` for an address whose login can't be told from the rest; hide its pieces in all output."""
    hide_address(url)
    if is_broken(url):
        raise StorageError(
            f"the address {shown_address(url)} can't be taken apart: it must be "
            f"SCHEME://USER:PASSWORD@HOST:PORT/DATABASE with no other @; {ENCODING}"
        )


def parse_url(url: str) -> sa.URL:
    """Return the URL with the driver psycopg2; raises `StorageError` for one that isn't PostgreSQL's."""
    check_address(url)
    try:
        address = sa.make_url(url.strip())
        if address.drivername in ("postgres", "postgresql", "postgresql+psycopg2"):
            return address.set(drivername="postgresql+psycopg2")
    except (exc.ArgumentError, ValueError):
        pass
    raise StorageError(
        f"the storage is {shown_address(url)}, but must be PostgreSQL: postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        + (f"; {ENCODING}" if has_secret(url) else "")
    )


def resolve(url: str) -> sa.URL:
    """Return the address of a URL, or of the file in file:PATH, with its password and TLS mode.

    A password that isn't in the URL comes from the file in LILM_SEARCH_PASSWORD_FILE, else from where PostgreSQL's
    own programs look. Servers on other machines must prove their name (sslmode=verify-full) to the authority in the
    URL (sslrootcert), in LILM_SEARCH_CA, or of this machine. Raises `StorageError` for a secret that others can read.
    """
    if url.strip().startswith("file:"):
        url = read_secret(file_of(url))
    address = parse_url(url)
    if address.password is None and (file := os.environ.get(PASSWORD_FILE)):
        if not Path(file).expanduser().exists():  # it may be the password itself: it is not shown
            raise StorageError(f"{PASSWORD_FILE} names no file that is there, but must be a private file's path")
        address = address.set(password=read_secret(Path(file).expanduser()))
    _hide_secrets(address)
    return _with_tls(address)


def file_of(url: str) -> Path:
    """Return the path in file:PATH, which may be an address that a person wrote there by mistake."""
    given = url.strip().removeprefix("file:").removeprefix("//")
    hide_address(given if "@" in given else None)
    return Path(given).expanduser()


def stored_url() -> str | None:
    """Return file:PATH for the file in LILM_SEARCH_STORAGE_FILE; None if it isn't set."""
    file = os.environ.get(STORAGE_FILE)
    return f"file:{file}" if file else None


def read_secret(path: Path) -> str:
    """Return a file's first line that is no comment; raises `StorageError` if others can read the file."""
    check_private(path)
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    contents = [line for line in lines if line and not line.startswith("#")]
    if not contents:
        raise StorageError(f"{path} holds no secret: its first line must be it")
    hide_secret(contents[0])
    return contents[0]


def check_private(path: Path) -> None:
    """Raise `StorageError` unless the file exists, and only its owner can read it."""
    try:
        with path.open("rb"):
            mode = path.stat().st_mode
    except OSError as error:
        raise StorageError(
            f"{redact(str(path))} can't be read: {error.strerror}; it must be the path of a private file"
        ) from None
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StorageError(f"{path} holds a secret, but others can read it (mode {mode & 0o777:o}): chmod 600 {path}")


def write_secret(path: Path, text: str) -> None:
    """Write a new file that only its owner can read; raises `StorageError` if it exists."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise StorageError(f"{path} exists; name another file, or remove it") from None
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror}") from None
    try:
        with os.fdopen(opened, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise StorageError(f"{path} can't be written: {error.strerror}") from None


def is_local(address: sa.URL) -> bool:
    """Return whether the server is on this machine: reached by a Unix socket or a loopback address."""
    query = {k: v if isinstance(v, str) else ",".join(v) for k, v in address.query.items()}
    hosts = [address.host, query.get("host"), query.get("hostaddr")]
    if not any(hosts):
        hosts = [os.environ.get("PGHOST"), os.environ.get("PGHOSTADDR")]
    return all(_loopback(host) for given in hosts if given for host in given.split(","))


def _loopback(host: str) -> bool:
    name = host.strip().strip("[]").split(":")[0] if host.count(":") < 2 else host.strip("[]")
    if name in ("", "localhost") or name.startswith(("/", "@", "%2F")):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _with_tls(address: sa.URL) -> sa.URL:
    given = address.query.get("sslmode")
    if is_local(address):
        return _with(address, sslrootcert=_authority(address))
    if given in (None, "verify-full"):
        named = "sslrootcert" in address.query
        return _with(address, sslmode="verify-full", sslrootcert=None if named else _authority(address) or _bundle())
    if given not in UNPROVEN_MODES:
        if given not in ("allow", "prefer"):
            raise StorageError(
                f"sslmode is {given}, but must be verify-full, {', '.join(UNPROVEN_MODES)}; leave it out"
            )
        raise StorageError(
            f"sslmode is {given}, which proves nothing about the server {address.host}: leave it out for verify-full, "
            f"and name the server's authority with sslrootcert=FILE or {CA}; sslmode=disable where the network is safe"
        )
    _warn(f"sslmode={given}: {_RISKS[str(given)]} (server {address.host}); leave it out for verify-full")
    return _with(address, sslrootcert=_authority(address), require_auth=_scram(address))


_RISKS = {
    "disable": "nothing is encrypted, and whoever is between can read and change all",
    "require": "encrypted, but whoever is between can pass for the server",
    "verify-ca": "any machine with a certificate of the same authority can pass for the server",
}


@cache
def _warn(line: str) -> None:
    """Log a warning, once for each text."""
    logging.getLogger("lilm_search").warning(line)


def _scram(address: sa.URL) -> str | None:
    """Return the login method that never sends the password itself, for a server whose identity isn't proven."""
    return "scram-sha-256" if libpq_version() >= 160_000 and "require_auth" not in address.query else None


def _with(address: sa.URL, **settings: str | None) -> sa.URL:
    return address.update_query_dict({k: v for k, v in settings.items() if v is not None})


def _authority(address: sa.URL) -> str | None:
    """Return the file of the authority in LILM_SEARCH_CA; None if it isn't set, or the URL names another."""
    if "sslrootcert" in address.query:
        return None
    given = os.environ.get(CA, "").strip()
    if not given:
        return None
    if "-----BEGIN CERTIFICATE-----" in given:
        return _private_copy(given)
    path = Path(given).expanduser()
    if not path.is_file():
        raise StorageError(f"{CA} is {redact(given)[:80]!r}, no file; it must be a certificate's file, or its PEM text")
    return str(path)


@cache
def _private_copy(pem: str) -> str:
    """Return a file with this text that lives as long as the process."""
    folder = tempfile.TemporaryDirectory(prefix="lilm-search-ca-")
    _folders.append(folder)
    path = Path(folder.name) / "ca.pem"
    write_secret(path, pem.replace("\\n", "\n") + "\n")
    return str(path)


_folders: list["tempfile.TemporaryDirectory[str]"] = []


def _bundle() -> str | None:
    """Return the file of this machine's own authorities; None if PostgreSQL's files in the home folder are to be used.

    The file is named since the library that comes with psycopg2 looks for it in another place.
    """
    if os.environ.get("PGSSLROOTCERT") or Path("~/.postgresql/root.crt").expanduser().exists():
        return None
    places = [ssl.get_default_verify_paths().cafile, *_BUNDLES]
    return next((p for p in places if p and Path(p).is_file()), "system")


def _hide_secrets(address: sa.URL) -> None:
    hide_secret(None if address.password is None else str(address.password))
    hide_secret(os.environ.get("PGPASSWORD"))
    for key in ("password", "sslpassword"):
        value = address.query.get(key)
        hide_secret(value if isinstance(value, str) else None)
    given = address.query.get("passfile") or os.environ.get("PGPASSFILE")
    if isinstance(given, str) and address.password is None and not os.environ.get("PGPASSWORD"):
        path = Path(given).expanduser()
        check_private(path)  # libpq would ignore a file that others can read, and then the login would fail
        for line in path.read_text(encoding="utf-8-sig").splitlines():
            hide_secret(line.rsplit(":", 1)[-1].strip() if line.count(":") >= 4 else None)
