"""The runtime's package: from npm or a folder, the one that was tested or none. No test asks a registry."""

import base64
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from search.common.errors import SearchError
from search.export.web import runtime
from search.export.web.runtime import ARCHIVE, FILES, runtime_files

CONTENT = {"ort.wasm.bundle.min.js": b"export {};", "ort-wasm-simd-threaded.wasm": b"\0asm\1\0\0\0"}


def packed(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A package of the same layout, taken for the tested one."""
    content = packed({FILES[name]: content for name, content in CONTENT.items()})
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    monkeypatch.setattr(runtime, "INTEGRITY", f"sha512-{digest}")
    return content


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in npm's place, to be written by the test."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return programs / "npm"


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_folder_that_has_the_package_is_enough(
    package: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    (tmp_path / ARCHIVE).write_bytes(package)
    assert runtime_files(tmp_path) == CONTENT


def test_npm_is_asked_for_the_pinned_version(package: bytes, tmp_path: Path, npm: Path) -> None:
    (tmp_path / "kept").write_bytes(package)
    script(npm, f'echo "$@" > {tmp_path}/asked; cp {tmp_path}/kept {ARCHIVE}')
    assert runtime_files(None) == CONTENT
    asked = (tmp_path / "asked").read_text().split()
    assert (asked[0], asked[-1]) == ("pack", "onnxruntime-web@1.30.0")


def test_another_package_of_the_same_name_is_refused(package: bytes, tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_bytes(package[:-1])
    with pytest.raises(SearchError, match=r"damaged, or not onnxruntime-web 1\.30\.0 .*npm pack .* fetches it again"):
        runtime_files(tmp_path)


def test_a_folder_without_the_package_is_told_how_it_gets_there(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=rf"--runtime is {tmp_path}, but {ARCHIVE} .*`npm pack onnxruntime-web@1"):
        runtime_files(tmp_path)


def test_without_npm_both_cures_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SearchError, match=r"install npm, or run `npm pack onnxruntime-web@1.*--runtime FOLDER"):
        runtime_files(None)


def test_a_failure_of_npm_is_named_by_its_code_alone(npm: Path) -> None:
    """The rest of what npm says may hold a registry's password."""
    script(npm, 'echo "npm error code E401" >&2; echo "npm error https://me:secret@npm.test" >&2; exit 1')
    with pytest.raises(SearchError) as raised:
        runtime_files(None)
    assert "failed (E401); try it by hand, or run" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_npm_that_takes_too_long_is_ended(npm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "NPM_SECONDS", 0.1)
    script(npm, "exec sleep 60")
    with pytest.raises(SearchError, match=r"not done after 0 s; try again, or run"):
        runtime_files(None)
