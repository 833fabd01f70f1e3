"""A bundle: one zip file with a model's files and their checksums.

Writing gives the same bytes for the same files on every machine. Reading trusts nothing: entries are plain names,
stored uncompressed, no larger together than the file itself, and each has its checksum; nothing is unpacked to disk.
"""

import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from model.atomic import replacing, why_not
from model.errors import CheckpointError

SUMS = "SHA256SUMS"
EDITABLE = "README.md"
"""File without a checksum, since people who publish a model add a licence to it."""
TIMESTAMP = (1980, 1, 1, 0, 0, 0)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
LINE = re.compile(r"([0-9a-f]{64})  (\S+)")
ENCRYPTED = 0x1
MOST_ENTRIES = 100


def with_sums(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files with their checksums, in the form that `sha256sum --check` reads."""
    lines = [f"{_sha256(files[name])}  {name}\n" for name in sorted(files) if name != EDITABLE]
    return {**files, SUMS: "".join(lines).encode()}


def check_sums(files: Mapping[str, bytes], origin: Path) -> None:
    """Raise `CheckpointError` if a file differs from its checksum, or has none."""
    lines = files[SUMS].decode(errors="replace").splitlines()
    sums = {match[2]: match[1] for line in lines if (match := LINE.fullmatch(line))}
    for name, content in files.items():
        if name in (SUMS, EDITABLE):
            continue
        if name not in sums:
            raise CheckpointError(f"{origin}: {name} has no checksum in {SUMS}; fetch the model again")
        if sums[name] != _sha256(content):
            raise CheckpointError(f"{origin}: {name} differs from its checksum in {SUMS}; fetch the model again")


def pack(path: Path, files: Mapping[str, bytes]) -> None:
    """Write the files and their checksums as a zip, whole or not at all; raises `CheckpointError`."""
    try:
        with replacing(path) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
            for name, content in sorted(with_sums(files).items()):
                entry = zipfile.ZipInfo(name, TIMESTAMP)
                entry.create_system, entry.external_attr = 3, 0o644 << 16  # as if made on Unix, whatever the machine
                archive.writestr(entry, content)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be written: {why_not(path, error)}") from None


def is_archive(path: Path) -> bool:
    """Return whether a file is a bundle; torch's own files are zips without checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return SUMS in archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def unpack(path: Path) -> dict[str, bytes]:
    """Return the files of a zip that `pack` wrote; raises `CheckpointError` for any other, and for damage."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_entries(archive.infolist(), path)
            files = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"{path}: damaged: {error}; fetch it again") from None
    if SUMS not in files:
        raise CheckpointError(f"{path}: not a bundle of lilm-search: it has no {SUMS}")
    check_sums(files, path)
    return files


def _check_entries(entries: list[zipfile.ZipInfo], path: Path) -> None:
    """Raise `CheckpointError` for entries that `pack` never writes."""
    if len(entries) > MOST_ENTRIES:
        raise CheckpointError(f"{path}: refused: it has {len(entries)} entries; a bundle has {MOST_ENTRIES} at most")
    names = [entry.filename for entry in entries]
    bad_name = next((n for n in names if not NAME.fullmatch(n) or names.count(n) > 1), None)
    if bad_name is not None:
        raise CheckpointError(
            f"{path}: refused: an entry is called {bad_name!r}; a bundle's have plain names, each once"
        )
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise CheckpointError(
                f"{path}: refused: {entry.filename} is compressed, which a bundle's files never are; "
                "unzip it and give the folder"
            )
        if entry.flag_bits & ENCRYPTED:
            raise CheckpointError(f"{path}: refused: {entry.filename} is encrypted")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise CheckpointError(f"{path}: refused: its entries claim more bytes than the file has")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
