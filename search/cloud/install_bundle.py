"""What is sent along to a machine: lilm-search itself, the versions it was tested with, the server's authority."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

from search.cloud.worker_script import CA_FILE, Bundle
from search.common.compiled_key import compiled_key
from search.common.errors import SearchError
from search.common.paths import checkout
from storage.server.address import CA, file_of, parse_url, read_secret

ROOT = checkout()


def build(folder: Path, source: str | None, url: str | None) -> Bundle:
    """Fill a folder and return what is in it.

    `source` is a wheel, or anything that pip can install there; without it a wheel is built from this checkout.
    Raises `SearchError` where there is no checkout, the wheel can't be built, or the folder can't be written.
    """
    pins, certificate = ROOT / "constraints.txt", authority(url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if pins.exists():
            shutil.copy(pins, folder)
        if certificate:
            (folder / CA_FILE).write_text(certificate, encoding="utf-8")
    except OSError as error:
        raise SearchError(f"{folder} can't be filled: {error.strerror}; --to names another folder") from None
    return Bundle(
        requirement=_requirement(folder, source),
        constraints=pins.exists(),
        ca=bool(certificate),
        compiled_key=compiled_key() is not None,
    )


def foreseen(source: str | None, url: str | None) -> Bundle:
    """Return what `build` would return, without building anything."""
    requirement = source or f"lilm_search-{importlib.metadata.version('lilm-search')}-py3-none-any.whl"
    name = Path(requirement).name if requirement.endswith(".whl") else requirement
    return Bundle(
        requirement=name,
        constraints=(ROOT / "constraints.txt").exists(),
        ca=bool(authority(url)),
        compiled_key=compiled_key() is not None,
    )


def _requirement(folder: Path, source: str | None) -> str:
    if source and not source.endswith(".whl"):
        return source
    if source:
        if not Path(source).is_file():
            raise SearchError(f"--source is {source}, but there is no such wheel")
        shutil.copy(source, folder)
        return Path(source).name
    if not (ROOT / "pyproject.toml").exists():
        raise SearchError(
            "lilm-search doesn't run from a checkout, so that no wheel can be built; give --source: a wheel's path, or "
            "what pip can install, such as git+https://HOST/lilm-search@COMMIT"
        )
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        raise SearchError(f"no wheel can be built: {' '.join(done.stderr.strip().splitlines()[-2:])}")
    return next(folder.glob("lilm_search-*.whl")).name


def authority(url: str | None) -> str | None:
    """Return the certificate that this machine is told to trust the server by, as text; None for a public one's."""
    given = os.environ.get(CA, "").strip()
    if url and not given:
        plain = read_secret(file_of(url)) if url.startswith("file:") else url
        named = parse_url(plain).query.get("sslrootcert", "")
        given = named if isinstance(named, str) and named != "system" else ""
    if not given or "-----BEGIN CERTIFICATE-----" in given:
        return given.replace("\\n", "\n") or None
    try:
        return Path(given).expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SearchError(f"the server's authority, {given}, can't be read: {error.strerror}") from None
