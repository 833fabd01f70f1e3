"""NVIDIA's driver and torch's builds: which of them a driver can run, and where they are to be had."""

import re
import shutil
import subprocess

WHEELS = "https://download.pytorch.org/whl"
"""PyTorch's own address, with a folder of wheels for each build."""
OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
"""Oldest driver for each major version of CUDA; programs built for its later releases run on it too."""
BUILDS = {11: "cu118", 12: "cu126", 13: "cu130"}
"""Folder of torch's build for each major version of CUDA."""
DEFAULT_CUDA = 13
"""Major version of CUDA that torch's wheels are built for where no other address is given."""
SMI_SECONDS = 20.0


def fallback_build() -> str:
    """Return the address of wheels for machines whose driver is too old for the default build."""
    return f"{WHEELS}/{BUILDS[DEFAULT_CUDA - 1]}"


def driver_too_old(driver: str, cuda: str) -> str:
    """Return what is wrong where a driver can't run what was built for this CUDA; empty where it can."""
    needed = OLDEST_DRIVER.get(major(cuda), 0)
    if major(driver) >= needed:
        return ""
    return f"driver {driver} can't run torch's CUDA {cuda}, which needs {needed} or later"


def reinstall(driver: str) -> str:
    """Return the command that installs a torch which this driver runs."""
    best = max((cuda for cuda, oldest in OLDEST_DRIVER.items() if oldest <= major(driver)), default=12)
    return f"pip install --force-reinstall torch --index-url {WHEELS}/{BUILDS[best]}"


def major(version: str) -> int:
    """Return the first number of a version; a very high one for a text without any."""
    found = re.match(r"\d+", version)
    return int(found[0]) if found else 10**6


def installed_driver() -> str:
    """Return the driver's version as `nvidia-smi` tells it; empty where there is none, or it doesn't say."""
    if not (program := shutil.which("nvidia-smi")):
        return ""
    question = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(
            question, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=SMI_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    first = answer.stdout.strip().partition("\n")[0].strip()
    return first if not answer.returncode and first[:1].isdigit() else ""


def why_no_gpu() -> str:
    """Return why torch sees no GPU on this machine, where the driver or torch's build is the cause; else empty."""
    import torch

    driver = installed_driver()
    if not driver or torch.cuda.is_available():
        return ""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is a CPU build; {reinstall(driver)}"
    too_old = driver_too_old(driver, torch.version.cuda)
    return f"{too_old}; {reinstall(driver)}" if too_old else ""
