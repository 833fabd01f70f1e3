"""Where and with what a run was trained; enough to tell two machines' results apart."""

import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or the processor's with the threads in use."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{_processor()} ({torch.get_num_threads()} threads)"


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@cache
def source_version() -> str:
    """Return the package's version, with the git commit where it runs from a checkout."""
    version = importlib.metadata.version("lilm-search")
    here = Path(__file__).parent.parent
    if not (here / ".git").exists():
        return version
    git = subprocess.run(
        ["git", "-C", str(here), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{version}+{git.stdout.strip()}" if git.returncode == 0 and git.stdout.strip() else version


def provenance(device: torch.device, precision: str) -> dict[str, Any]:
    """Return what a run's result may depend on besides its configuration and data."""
    return {
        "lilm_search": source_version(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "sentencepiece": importlib.metadata.version("sentencepiece"),
        "device": device_name(device),
        "precision": precision,
        "host": platform.node(),
    }
