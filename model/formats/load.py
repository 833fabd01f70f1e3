"""Loading a trained model in any of its forms: a checkpoint, a folder of plain files, a bundle."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from model.atomic import replacing, why_not
from model.errors import CheckpointError
from model.formats import checkpoint
from model.formats import zip_bundle as archive
from model.formats.checkpoint import Checkpoint
from model.formats.safetensors_folder import NEEDED, OPTIONAL, checkpoint_of

GGUF, ZIP = b"GGUF", b"PK\x03\x04"
"""First bytes of llama.cpp's files, and of zips."""
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""First bytes of what Git checks out in a large file's place, where Git LFS isn't installed."""
NOT_FETCHED = "a pointer of Git LFS, not the file; install git-lfs and run `git lfs pull`"


def load(path: Path, device: torch.device) -> Checkpoint:
    """Read a model in any of its forms; raises `CheckpointError`. Nothing in it is executed."""
    if path.is_dir():
        return checkpoint_of(_files_in(path), path, device)
    if archive.is_archive(path):
        return checkpoint_of(archive.unpack(path), path, device)
    if reason := _other_file(path):
        raise CheckpointError(f"{path}: {reason}")
    return checkpoint.load(path, device)


def _other_file(path: Path) -> str | None:
    """Return what a file is by its first bytes, if it is one that a person may well take for a model of ours."""
    try:
        with path.open("rb") as file:
            begin = file.read(len(LFS_POINTER))
    except OSError:
        return None  # which is said where it is loaded
    if begin.startswith(ZIP) and not zipfile.is_zipfile(path):
        return "cut off: it begins as a checkpoint or bundle, but has no end; fetch it again"
    if begin.startswith(GGUF):
        return "a GGUF file, which llama.cpp runs; here, give the checkpoint, bundle or folder that it was made of"
    if begin == LFS_POINTER:
        return NOT_FETCHED
    if path.suffix == ".safetensors":
        return "weights alone; give the folder, where settings and tokenizer are beside them"
    return None


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files and their checksums into a new folder, all or none of them; raises `CheckpointError`."""
    check_new(folder)
    try:
        with replacing(folder) as unfinished:
            unfinished.mkdir()
            for name, content in archive.with_sums(files).items():
                (unfinished / name).write_bytes(content)
    except OSError as error:
        raise CheckpointError(f"{folder}: can't be written: {why_not(folder, error)}") from None


def check_new(folder: Path) -> None:
    """Raise `CheckpointError` if there is something already where `write_folder` would make a folder."""
    try:
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise CheckpointError(f"{folder}: exists already and is not an empty folder; name another")
    except OSError as error:
        raise CheckpointError(f"{folder}: can't be written: {why_not(folder, error)}") from None


def _files_in(folder: Path) -> dict[str, bytes]:
    """Return the files that loading needs; raises `CheckpointError` if one differs from its checksum."""
    try:
        paths = {n: folder / n for n in (*NEEDED, *OPTIONAL, archive.SUMS) if (folder / n).is_file()}
        files = {name: path.read_bytes() for name, path in paths.items()}
    except OSError as error:
        raise CheckpointError(f"{folder}: can't be read: {error.strerror or error}") from None
    for name, content in files.items():
        if content.startswith(LFS_POINTER):
            raise CheckpointError(f"{folder}: {name} is {NOT_FETCHED}")
    if archive.SUMS in files:
        archive.check_sums(files, folder)
    return files
