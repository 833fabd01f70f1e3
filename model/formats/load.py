"""Loading a trained model in any of its forms: a checkpoint, a folder of plain files, a bundle."""

from collections.abc import Mapping
from pathlib import Path

import torch

from model.atomic import replacing, why_not
from model.errors import CheckpointError
from model.formats import checkpoint
from model.formats import zip_bundle as archive
from model.formats.checkpoint import Checkpoint
from model.formats.safetensors_folder import NEEDED, OPTIONAL, checkpoint_of


def load(path: Path, device: torch.device) -> Checkpoint:
    """Read a model in any of its forms; raises `CheckpointError`. Nothing in it is executed."""
    if path.is_dir():
        return checkpoint_of(_files_in(path), path, device)
    if archive.is_archive(path):
        return checkpoint_of(archive.unpack(path), path, device)
    return checkpoint.load(path, device)


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
    if archive.SUMS in files:
        archive.check_sums(files, folder)
    return files
