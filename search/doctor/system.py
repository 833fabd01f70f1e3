"""Checks of this machine except its GPU: Python, packages, disk, memory, cores, compiler."""

import importlib.metadata
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from model.data.tokenizer import cpu_count
from search.common import paths
from search.doctor.finding import Check, Finding, bad, note, ok

OURS = ("search", "model", "storage", "studies")
"""Packages of lilm-search."""
HOME_BYTES, TEMP_BYTES = 5e9, 1e9
"""Free bytes needed in LILM_SEARCH_HOME and in the folder of temporary files."""
WORKER_BYTES = 1e9
"""Approximate memory of a worker on a CPU, half of it before it trains anything."""
FILES = 256
"""Most open files that a worker needs, its libraries' included."""
CGROUP = Path("/sys/fs/cgroup")


def checks() -> list[Check]:
    """Return the checks of this machine."""
    return [
        Check(name="python", look=python),
        Check(name="packages", look=packages),
        Check(name="disk", look=lambda: disk(paths.home())),
        Check(name="temporary", look=lambda: temporary(Path(tempfile.gettempdir()))),
        Check(name="memory", look=memory),
        Check(name="cores", look=cores),
        Check(name="files", look=files),
        Check(name="compiler", look=compiler, seconds=60.0),
    ]


def python() -> Iterator[Finding]:
    """Check the interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.maxsize < 2**32:
        yield bad("python", f"{version} for 32 bits, for which there is no torch", "install a Python for 64 bits")
    else:
        yield ok("python", version)


def foreign_owners() -> dict[str, list[str]]:
    """Return other distributions that own a package name of lilm-search, by name."""
    owners = importlib.metadata.packages_distributions()
    foreign = {name: [d for d in owners.get(name, []) if d != "lilm-search"] for name in OURS}
    return {name: dists for name, dists in foreign.items() if dists}


def packages() -> Iterator[Finding]:
    """Check for other distributions with packages of the same names."""
    foreign = foreign_owners()
    for name, dists in foreign.items():
        yield bad("packages", f"`{name}` also comes from {', '.join(dists)}", f"pip uninstall {' '.join(dists)}")
    if not foreign:
        yield ok("packages", "no other distribution uses our package names")


def disk(home: Path) -> Iterator[Finding]:
    """Check that LILM_SEARCH_HOME can be written, and has room."""
    existing = next(p for p in (home, *home.parents) if p.exists())
    cure = "export LILM_SEARCH_HOME=/a/folder/with/room"
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".lilm-"):
            pass
    except OSError as error:
        yield bad("disk", f"{home} can't be written: {error.strerror}", cure)
        return
    cache = home / "cache"
    if cache.exists() and not os.access(cache, os.W_OK | os.X_OK):
        yield bad("disk", f"{cache} can't be written", f"sudo chown -R $USER {cache}")
    free = shutil.disk_usage(existing).free
    if free < HOME_BYTES:
        yield bad("disk", f"{free / 1e9:.1f} GB free for {home}; {HOME_BYTES / 1e9:.0f} GB are needed", cure)
    else:
        yield ok("disk", f"{free / 1e9:.0f} GB free for {home}")


def temporary(folder: Path) -> Iterator[Finding]:
    """Check that the folder of temporary files has room and may hold programs, which compilers make."""
    cure = "export TMPDIR=/a/folder/with/room"
    free, flags = shutil.disk_usage(folder).free, os.statvfs(folder).f_flag
    if free < TEMP_BYTES:
        yield bad("temporary", f"{free / 1e9:.2g} GB free in {folder}; {TEMP_BYTES / 1e9:.0f} GB are needed", cure)
    elif flags & os.ST_NOEXEC:
        message = f"{folder} is mounted noexec: what compilers make there can't be run"
        yield note("temporary", message, "export TMPDIR=/a/folder/where/programs/run")
    else:
        yield ok("temporary", f"{free / 1e9:.0f} GB free in {folder}")


def memory(
    cgroup: Path = CGROUP, meminfo: Path = Path("/proc/meminfo"), shared: Path = Path("/dev/shm")
) -> Iterator[Finding]:
    """Check that memory suffices for the workers that `start` starts here, within a container's limit."""
    from search.machine.slots import slots

    workers = len(slots())
    free = _available(meminfo)
    limit = _number(cgroup / "memory.max")
    if limit is not None:
        used = _number(cgroup / "memory.current") or 0
        free = min(free, limit - used)
    needed = workers * WORKER_BYTES
    within = " of the container's" if limit is not None else ""
    if free < needed:
        fit = int(free // WORKER_BYTES)
        cure = f"lilm-search start --workers {fit}" if fit else "end other programs, or take a larger machine"
        yield bad("memory", f"{free / 1e9:.1f} GB{within} free, but {workers} workers need {needed / 1e9:.0f} GB", cure)
    else:
        yield ok("memory", f"{free / 1e9:.0f} GB{within} free for {workers} workers")
    if shared.exists() and (size := shutil.disk_usage(shared).total) < 60e6:
        message = f"{shared} has {size / 1e6:.0f} MB, which PostgreSQL may outgrow"
        yield note("memory", message, "docker run --shm-size 1g …")


def _available(meminfo: Path) -> float:
    lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
    return 1024.0 * float(lines["MemAvailable"].split()[0])


def _number(file: Path) -> float | None:
    """Return the first number in a control group's file; None if there is no limit, or no such file."""
    try:
        text = file.read_text(encoding="ascii").split()[0]
    except (OSError, IndexError):
        return None
    return None if text == "max" else float(text)


def cores(cgroup: Path = CGROUP) -> Iterator[Finding]:
    """Check whether a container's share of processor time is less than the cores that it sees."""
    seen = cpu_count()
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        share = None if quota == "max" else float(quota) / float(period)
    except (OSError, ValueError):
        share = None
    if share is not None and share < 0.8 * seen:
        message = f"{seen} cores are seen, but the container may use the time of {share:g}: threads stop one another"
        whole = max(1, int(share))
        yield note("cores", message, f"taskset -c 0-{whole - 1} lilm-search start …, or --threads {whole} for a worker")
    else:
        yield ok("cores", f"{seen} CPU core{'s' * (seen != 1)}; a worker alone uses all of them")


def files() -> Iterator[Finding]:
    """Check how many files a process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < FILES:
        may = "" if hard < 0 or hard >= FILES else " (as root, or in /etc/security/limits.conf)"
        yield bad("files", f"a process may open {soft} files; {FILES} are needed", f"ulimit -n 4096{may}")
    else:
        yield ok("files", f"a process may open {'any number of' if soft < 0 else soft} files")


def compiler() -> Iterator[Finding]:
    """Check whether networks can be compiled here, as those of long runs are."""
    import torch

    from model.training.compiling import missing_compiler

    missing = missing_compiler(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if missing is None:
        yield ok("compiler", "networks can be compiled")
        return
    cure = "pip install triton" if "Triton is not installed" in missing else "apt-get install g++ python3-dev"
    yield note(
        "compiler", f'{missing}: long runs are slower than they could be; with compile = "on" they are refused', cure
    )
