"""What torch compiled, as files that other machines of the same kind can use: their kind, what is new, packing.

Torch keeps each compiled graph in files below `TORCHINDUCTOR_CACHE_DIR`, named by their content or by what they were
compiled from, so that files of several machines can lie side by side. `torch.compiler.save_cache_artifacts` packs the
graphs too, but without a CPU's libraries, which take most of the time.

Whoever reads such files runs what is in them: unpack only what comes from somebody who may run code here.
"""

import contextlib
import importlib.metadata
import io
import os
import platform
import re
import sys
import time
import zipfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path, PurePosixPath

import torch

from model.atomic import replacing
from model.errors import ModelError

CACHE_DIR = "TORCHINDUCTOR_CACHE_DIR"
"""Torch's own variable: the folder of what it compiled."""
SETTLED_SECONDS = 10.0
"""Seconds since its last change after which a file counts as whole: a compiler may still be writing a newer one."""
MOST_BYTES = 256 * 10**6
"""Largest size of an archive's files, unpacked."""
_LEFT_OUT = ("triton", "locks")
"""Folders of the cache that stay: Triton's name paths of this machine (kernels are in the graphs too), and locks."""
_OF_HOST = (".so", ".o", ".cpp", ".h")
"""Endings of what is compiled for the processor, which beside a GPU need not be like other machines'."""
_HEADERS = (".gch", ".pch")
"""Endings of precompiled headers: large, and tied to this machine's compiler."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


def machine_kind(device: torch.device) -> str:
    """Return all that decides whether compiled files can be used for a device, as a line for people.

    Graphs are keyed by torch itself by its version, Triton's and the GPU. A CPU's libraries are built for exactly its
    instructions (`-march=native`), and against its C and C++ libraries: two CPUs of unlike flags are two kinds.
    """
    versions = [f"torch {torch.__version__}", f"Python {sys.version_info.major}.{sys.version_info.minor}"]
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        gpu = f"{torch.cuda.get_device_name(device)} (compute capability {major}.{minor})"
        return ", ".join([*versions, f"Triton {_triton_version()}", f"CUDA {torch.version.cuda}", gpu])
    instructions = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {_cpu_flags()}"
    return ", ".join([*versions, " ".join(platform.libc_ver()), _cpp_library(), instructions])


def _triton_version() -> str:
    try:
        return importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _cpp_library(maps: Path = Path("/proc/self/maps")) -> str:
    """Return the file name, with its version, of the C++ library that this process has loaded."""
    with contextlib.suppress(OSError):
        loaded = re.search(r"[^/\n]*(?:stdc|c)\+\+\.so[.\d]*", maps.read_text(encoding="utf-8", errors="replace"))
        return loaded[0] if loaded else ""
    return ""


def _cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return a short hash of the CPU's flags."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), platform.processor())
    return sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:12]


def compiled_files(device: torch.device, settled_seconds: float = SETTLED_SECONDS) -> set[str]:
    """Return the files that another machine could use, relative to torch's folder; empty if it isn't set."""
    folder, latest = os.environ.get(CACHE_DIR), time.time() - settled_seconds
    if not folder:
        return set()
    left_out = (*_HEADERS, ".lock", ".tmp", *(_OF_HOST if device.type == "cuda" else ()))
    return {
        path.relative_to(folder).as_posix()
        for path in Path(folder).rglob("*")
        if path.relative_to(folder).parts[0] not in _LEFT_OUT
        and path.suffix not in left_out
        and _is_whole(path, latest)
    }


def _is_whole(path: Path, latest: float) -> bool:
    try:
        status = path.stat()
    except OSError:  # removed meanwhile
        return False
    return path.is_file() and not path.is_symlink() and status.st_size > 0 and status.st_mtime <= latest


def pack(names: Iterable[str]) -> bytes:
    """Return these files of torch's folder as an archive: the same bytes for the same files."""
    folder, archive = Path(os.environ[CACHE_DIR]), io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name in sorted(names):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, (folder / name).read_bytes())
    return archive.getvalue()


def unpack(archive: bytes) -> list[str]:
    """Put an archive's files into torch's folder, except those that are there; return the names of all.

    Raises `ModelError` for what `pack` can't have made, `OSError` if the folder can't be written.
    """
    folder = Path(os.environ[CACHE_DIR])
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as file:
            entries = file.infolist()
            if sum(entry.file_size for entry in entries) > MOST_BYTES:
                raise ModelError(f"an archive of compiled graphs holds more than {MOST_BYTES / 1e6:g} MB")
            for entry in entries:
                _put(folder, _inside(entry.filename), file.read(entry))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"an archive of compiled graphs can't be read: {error}") from None
    return [entry.filename for entry in entries]


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or name.endswith("/") or "\\" in name:
        raise ModelError(f"an archive of compiled graphs names a file outside of its folder: {name!r}")
    return path


def _put(folder: Path, name: PurePosixPath, content: bytes) -> None:
    path = folder / name
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)
