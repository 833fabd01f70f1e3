"""What may be wrong with this machine, its database and its GPU: each check says what it found."""

import importlib.metadata
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch

from model.tokenizer import cpu_count
from search import paths
from search.provenance import device_name
from storage.errors import StorageError

OURS = ("search", "model", "storage", "studies")


@dataclass(frozen=True)
class Finding:
    """One check: whether it is well, and what was found or what to do."""

    name: str
    well: bool
    detail: str


def foreign_owners() -> dict[str, list[str]]:
    """Return the distributions other than ours that own one of our package names."""
    owners = importlib.metadata.packages_distributions()
    found = {name: [d for d in owners.get(name, []) if d != "lilm-search"] for name in OURS}
    return {name: dists for name, dists in found.items() if dists}


def examine(connect: Callable[[], str]) -> list[Finding]:
    """Run every check; `connect` opens the study database and returns one line about it."""
    version = ".".join(map(str, sys.version_info[:3]))
    findings = [Finding("Python", sys.version_info >= (3, 11), f"{version} (3.11 or later is needed)")]
    foreign = foreign_owners()
    clash = "; ".join(f"`{n}` also comes from {', '.join(d)}: uninstall it" for n, d in foreign.items())
    findings.append(Finding("packages", not foreign, clash or "no other distribution uses our package names"))
    findings.append(_device())
    findings.append(_disk())
    try:
        findings.append(Finding("database", True, connect()))
    except StorageError as error:
        findings.append(Finding("database", False, str(error)))
    return findings


def _device() -> Finding:
    if torch.cuda.is_available():
        names = ", ".join(device_name(torch.device("cuda", i)) for i in range(torch.cuda.device_count()))
        return Finding("device", True, f"{names}; torch {torch.__version__}")
    built = (
        "this torch is a CPU build"
        if torch.version.cuda is None
        else "torch sees no GPU: check nvidia-smi and the driver"
    )
    return Finding("device", True, f"no CUDA GPU ({built}); {cpu_count()} CPU cores; torch {torch.__version__}")


def _disk() -> Finding:
    folder = paths.home()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free / 1e9
    return Finding("disk", free > 5, f"{free:.0f} GB free for {folder}" + ("" if free > 5 else "; 5 GB are needed"))
