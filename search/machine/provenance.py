"""Provenance of a run: enough to tell two machines' results apart, and to train it again.

It holds no names of people, no folders and no passwords. The host's name stays in the study, whose workers are named
after it, and is left out of exports.
"""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.config import PROTOCOL
from search.common.paths import checkout
from search.machine.gpu_catalog import read_number
from search.machine.hardware import device_name

if TYPE_CHECKING:
    import torch

    from model.data.corpus import Corpus
    from model.training.result import Result
    from model.training.self_test import SelfTest
    from search.machine.hardware import Hardware


LIBRARIES = ("numpy", "optuna", "sentencepiece")
"""Libraries whose versions are recorded."""
GPU_DETAILS = {
    "driver_version": "driver",
    "power.limit": "power_limit_watts",
    "clocks.max.sm": "max_clock_mhz",
    "clocks.max.memory": "max_memory_clock_mhz",
}
"""Queries to `nvidia-smi`, and the keys of their answers in the provenance."""


@cache
def source_version() -> dict[str, Any]:
    """Return the package's version, and its commit if it runs from a checkout or was installed from git."""
    version: dict[str, Any] = {"lilm_search": importlib.metadata.version("lilm-search")}
    folder = checkout()
    if (folder / ".git").exists() and (commit := _git(folder, "rev-parse", "HEAD")):
        changed = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
        return version | {"commit": commit, "changed_since_commit": changed}
    installed = json.loads(importlib.metadata.distribution("lilm-search").read_text("direct_url.json") or "{}")
    commit = installed.get("vcs_info", {}).get("commit_id")
    return version | ({"commit": commit} if commit else {})


def _git(folder: Path, *arguments: str) -> str:
    if not shutil.which("git"):
        return ""
    process = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    return process.stdout.strip() if process.returncode == 0 else ""


def provenance(device: "torch.device", precision: str, hardware: "Hardware | None" = None) -> dict[str, Any]:
    """Return versions and hardware: what a run's result may depend on besides its configuration and data."""
    import torch

    image = os.environ.get("LILM_SEARCH_IMAGE")
    return {
        **source_version(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        **{name: importlib.metadata.version(name) for name in LIBRARIES},
        "device": device_name(device),
        **(_cuda(device) if device.type == "cuda" else {}),
        **({"hardware": hardware.table()} if hardware else {}),
        "precision": precision,
        "host": platform.node(),
        **({"image": image} if image else {}),
    }


def run_provenance(
    device: "torch.device",
    result: "Result",
    hardware: "Hardware | None",
    *,
    seed: int,
    budget_seconds: float,
    self_test: "SelfTest | None" = None,
) -> dict[str, Any]:
    """Return the provenance of one run that has ended; `self_test` is the one that its worker passed."""
    run = {"seed": seed, "budget_seconds": budget_seconds, "mode": result.mode, "micro_batch": result.micro_batch}
    passed = {"self_test": self_test.table()} if self_test else {}
    return provenance(device, result.precision, hardware) | run | passed


def without_host(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's provenance for an export: without the host's name, and without hardware, which stands apart."""
    return {k: v for k, v in provenance.items() if k not in ("host", "hardware")}


def data_hashes(corpus: "Corpus") -> dict[str, str]:
    """Return the SHA-256 of a text and of its tokenizer, and the version of the evaluation."""
    return {"text_sha256": corpus.text_sha256, "tokenizer_sha256": corpus.tokenizer.sha256, "evaluation": PROTOCOL}


def _cuda(device: "torch.device") -> dict[str, Any]:
    import torch

    versions = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]
    uuid = str(getattr(torch.cuda.get_device_properties(device), "uuid", ""))
    return {k: v for k, v in versions.items() if v is not None} | gpu_details(uuid)


@cache
def gpu_details(uuid: str) -> dict[str, Any]:
    """Return driver, power limit and clocks of a GPU from `nvidia-smi`; only what it answers with."""
    if not uuid or not (program := shutil.which("nvidia-smi")):
        return {}
    name = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
    arguments = [f"--query-gpu={','.join(GPU_DETAILS)}", "--format=csv,noheader,nounits", f"--id={name}"]
    try:
        process = subprocess.run(
            [program, *arguments], capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    answers = [a.strip() for a in process.stdout.strip().split(",")]
    if process.returncode or len(answers) != len(GPU_DETAILS):
        return {}
    answered = dict(zip(GPU_DETAILS.values(), answers, strict=True))
    numbers = {key: read_number(answer) for key, answer in answered.items() if key != "driver"}
    driver = {"driver": answered["driver"]} if answered["driver"][:1].isdigit() else {}
    return driver | {key: number for key, number in numbers.items() if number is not None}
