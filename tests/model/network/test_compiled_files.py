"""Files of what torch compiled: which can travel, that they come back as they were, and for which machines."""

import io
import os
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from model.errors import ModelError
from model.network import compiled_files
from model.network.compiled_files import CACHE_DIR, machine_kind, pack, unpack
from tests.model.training.stand_in import stand_in

CPU = torch.device("cpu")
EACH = {"one": "of the first", "sub/two": "of the second" * 1000}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what torch compiles, empty."""
    monkeypatch.setenv(CACHE_DIR, str(tmp_path / "compiled"))
    (tmp_path / "compiled").mkdir()
    return tmp_path / "compiled"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_unfinished_and_local_files_do_not_travel(folder: Path) -> None:
    """Triton's own folder names paths of its machine; a file changed just now may still be written."""
    write(folder, {"old": "x", "empty": "", "locks/x": "x", "triton/0/k.json": "x", "h.gch": "x", "x/k.so": "x"})
    for name in read(folder):
        os.utime(folder / name, (1e9, 1e9))
    write(folder, {"new": "x"})
    assert compiled_files.compiled_files(CPU) == {"old", "x/k.so"}
    assert compiled_files.compiled_files(torch.device("cuda")) == {"old"}
    assert compiled_files.compiled_files(CPU, 0.0) == {"old", "x/k.so", "new"}


def test_without_a_folder_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_DIR, "")
    assert compiled_files.compiled_files(CPU) == set()


def test_an_archive_comes_back_as_it_was(folder: Path) -> None:
    """The same bytes whatever the order of its files and their times; what is there already stays."""
    write(folder, EACH)
    archive = pack(EACH)
    os.utime(folder / "one", (1e9, 1e9))
    assert pack(reversed(list(EACH))) == archive
    (folder / "sub/two").unlink()
    write(folder, {"one": "another"})
    assert sorted(unpack(archive)) == sorted(EACH)
    assert read(folder) == {**EACH, "one": "another"}


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "folder/"])
def test_a_name_outside_of_the_folder_is_refused(folder: Path, name: str) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, b"text")
    with pytest.raises(ModelError, match="outside of its folder"):
        unpack(archive.getvalue())
    assert not list(folder.parent.rglob("outside"))


def test_what_is_no_archive_or_too_large_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="can't be read"):
        unpack(b"any bytes")
    write(folder, EACH)
    archive = pack(EACH)
    monkeypatch.setattr(compiled_files, "MOST_BYTES", 1000)
    with pytest.raises(ModelError, match=r"holds more than 0\.001 MB"):
        unpack(archive)


def test_the_kind_of_a_machine_is_its_versions_and_instructions(tmp_path: Path) -> None:
    """CPUs of unlike flags are unlike, in whatever order the flags stand."""
    kind = machine_kind(CPU)
    assert f"torch {torch.__version__}, Python {sys.version_info.major}.{sys.version_info.minor}" in kind
    hashes = []
    for flags in ("flags : fpu avx2", "flags : avx2 fpu", "flags : fpu avx2 amx_bf16"):
        (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n\nprocessor : 1\n{flags}\n")
        hashes.append(compiled_files._cpu_flags(tmp_path / "cpuinfo"))
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_kind_of_a_gpu_is_its_name_and_capability_not_its_processor() -> None:
    with stand_in() as gpu:
        kind = machine_kind(gpu.device)
    assert kind.endswith("NVIDIA GeForce RTX 4090 (compute capability 8.9)")
    assert f"CUDA {torch.version.cuda}" in kind
    assert compiled_files._cpu_flags() not in kind
    with stand_in(name="NVIDIA H100") as gpu:
        assert machine_kind(gpu.device) != kind


def test_the_cpp_library_is_the_one_that_is_loaded(tmp_path: Path) -> None:
    line = "7f0000000000-7f0000001000 r-xp 00000000 fe:00 12 /usr/lib/{}\n"
    for name in ("libstdc++.so.6.0.30", "libc++.so.1.0"):
        (tmp_path / "maps").write_text(line.format("libc.so.6") + line.format(name) + line.format(name))
        assert compiled_files._cpp_library(tmp_path / "maps") == name
    (tmp_path / "maps").write_text(line.format("libc.so.6"))
    assert compiled_files._cpp_library(tmp_path / "maps") == ""
    assert compiled_files._cpp_library(tmp_path / "nosuch") == ""
