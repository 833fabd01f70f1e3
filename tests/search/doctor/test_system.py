"""Each trouble of a machine, made, is found; a well machine is well."""

import errno
import os
import resource
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from search.doctor import system as machine
from search.doctor.finding import Finding, State
from search.machine.slots import slots

MEMINFO = "MemTotal: 99 kB\nMemAvailable:   {} kB\n"


def usage(total: float, free: float) -> SimpleNamespace:
    return SimpleNamespace(total=total, free=free)


def states(findings: list[Finding]) -> list[State]:
    return [f.state for f in findings]


def test_this_machine_is_well() -> None:
    for check in machine.checks():
        for finding in check.look():
            assert finding.state != "BAD", finding


def test_a_full_disk_and_one_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "not" / "yet"
    assert states(list(machine.disk(home))) == ["ok"]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(9e9, 1e9))
    (full,) = machine.disk(home)
    assert (full.state, "1.0 GB free" in full.found, "LILM_SEARCH_HOME" in full.cure) == ("BAD", True, True)


def test_a_home_that_no_one_may_write() -> None:
    (found,) = machine.disk(Path("/proc/lilm-search"))
    assert (found.state, "can't be written" in found.found) == ("BAD", True)


def test_a_folder_for_temporary_files_that_runs_no_programs() -> None:
    places = [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()]
    noexec = [p for p in places if p.is_dir() and os.statvfs(p).f_flag & os.ST_NOEXEC]
    roomy = [p for p in noexec if shutil.disk_usage(p).free >= machine.TEMP_BYTES]
    for place in noexec:
        (found,) = machine.temporary(place)
        assert found.state == ("note" if place in roomy else "BAD")
        assert "TMPDIR" in found.cure
        assert (place in roomy) == ("noexec" in found.found)


@pytest.mark.parametrize(
    ("available", "limit", "used", "state"),
    [(64e9, None, None, "ok"), (0.2e9, None, None, "BAD"), (64e9, 0.5e9, 0.1e9, "BAD"), (64e9, 32e9, 1e9, "ok")],
)
def test_memory_must_hold_the_workers_within_a_containers_limit(
    tmp_path: Path, available: float, limit: float | None, used: float | None, state: State
) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO.format(int(available / 1024)))
    (tmp_path / "memory.max").write_text(f"{limit:.0f}\n" if limit else "max\n")
    (tmp_path / "memory.current").write_text(f"{used or 0:.0f}\n")
    found = list(machine.memory(tmp_path, tmp_path / "meminfo", tmp_path / "none"))
    assert states(found) == [state]
    assert f"{len(slots())} workers" in found[0].found
    assert ("container" in found[0].found) == (limit is not None)


def test_shared_memory_of_a_container_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**26 // 2, 0))
    found = list(machine.memory(tmp_path, shared=tmp_path))
    assert (found[-1].state, "--shm-size" in found[-1].cure) == ("note", True)


@pytest.mark.parametrize(("quota", "state"), [("max 100000", "ok"), ("800000 100000", "ok"), ("150000 100000", "note")])
def test_a_share_of_time_below_the_cores_is_noted(
    tmp_path: Path, quota: str, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cpu_count", lambda: 8)
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    (found,) = machine.cores(tmp_path)
    assert found.state == state
    assert state == "ok" or "time of 1.5" in found.found


def test_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        (found,) = machine.files()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (found.state, found.cure) == ("BAD", "ulimit -n 4096")


def test_a_missing_compiler_and_missing_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "g++"
    program.write_text("#!/bin/sh\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("model.training.compiling.sysconfig.get_path", lambda name: str(tmp_path))  # without Python.h
    (found,) = machine.compiler()
    assert (found.state, "Python.h" in found.found) == ("note", True)
    monkeypatch.setenv("PATH", "/nowhere")
    (found,) = machine.compiler()
    assert (found.state, "no C++ compiler" in found.found) == ("note", True)
    assert found.cure == "apt-get install g++ python3-dev"


def test_a_clash_of_package_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "foreign_owners", lambda: {"model": ["other"]})
    (found,) = machine.packages()
    assert (found.state, found.cure) == ("BAD", "pip uninstall other")


def test_a_home_that_turned_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(**options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuses)
    (found,) = machine.disk(tmp_path)
    assert (found.state, "Read-only file system" in found.found) == ("BAD", True)
