"""The program that runs a model in a page: ONNX Runtime in WebAssembly, from its npm package, in one version alone."""

import base64
import hashlib
import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from search.common.errors import SearchError

NAME, VERSION, LICENCE = "onnxruntime-web", "1.30.0", "MIT"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Hash of the package as npm states it."""
ARCHIVE = f"{NAME}-{VERSION}.tgz"
"""Name under which `npm pack` writes the package."""
FILES = {
    "ort.wasm.bundle.min.js": "package/dist/ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.wasm": "package/dist/ort-wasm-simd-threaded.wasm",
}
"""What a page needs of it, under names that every file server knows the type of.

It runs on one thread: more need headers that plain file servers don't send.
"""
PACK = f"npm pack {NAME}@{VERSION}"
NPM_SECONDS = 600.0
"""Seconds that npm may take for 33 MB."""


def runtime_files(folder: Path | None) -> dict[str, bytes]:
    """Return the runtime's files by name, from the package in the folder, or else by npm; raises `SearchError`."""
    if folder is not None:
        return _members(_package_in(folder), folder / ARCHIVE)
    with tempfile.TemporaryDirectory(prefix="lilm-search-") as scratch:
        _run_npm(scratch)
        return _members(_package_in(Path(scratch)), Path(ARCHIVE))


def _package_in(folder: Path) -> bytes:
    try:
        return (folder / ARCHIVE).read_bytes()
    except OSError as error:
        raise SearchError(
            f"--runtime is {folder}, but {ARCHIVE} can't be read there ({error.strerror}); `{PACK}` writes it"
        ) from None


def _run_npm(folder: str) -> None:
    npm = shutil.which("npm")
    elsewhere = f"run `{PACK}` where it works and add --runtime FOLDER, the folder with {ARCHIVE}"
    if npm is None:
        raise SearchError(f"a page needs {NAME} {VERSION} from npm, which isn't installed; install npm, or {elsewhere}")
    command = [npm, "pack", "--silent", "--prefer-offline", "--pack-destination", folder, f"{NAME}@{VERSION}"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=NPM_SECONDS, cwd=folder, check=False)
    except subprocess.TimeoutExpired:
        raise SearchError(f"`{PACK}` was not done after {NPM_SECONDS:.0f} s; try again, or {elsewhere}") from None
    if result.returncode:
        # Nothing else of what npm says: it may name a registry with its password.
        code = re.search(r"code (E\w+)", result.stderr + result.stdout)
        raise SearchError(f"`{PACK}` failed{f' ({code[1]})' if code else ''}; try it by hand, or {elsewhere}")


def _members(package: bytes, origin: Path) -> dict[str, bytes]:
    """Return the files of a package that is the one that was tested; raises `SearchError` for any other."""
    digest = "sha512-" + base64.b64encode(hashlib.sha512(package).digest()).decode()
    if digest != INTEGRITY:
        raise SearchError(f"{origin} is damaged, or not {NAME} {VERSION} as npm has it; `{PACK}` fetches it again")
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
        return {name: _member(archive, member) for name, member in FILES.items()}


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise SearchError(f"{NAME} {VERSION} has no file {name}")
    return file.read()
