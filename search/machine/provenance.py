"""Where and with what a run was trained: enough to tell two machines' results apart, and to train it again.

Names of people, folders and passwords have no place in it; the host's name stays in the study, whose workers are
called by it, and is left out of exports.
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
    from search.machine.hardware import Machine


LIBRARIES = ("numpy", "optuna", "sentencepiece")
GPU_FACTS = {
    "driver_version": "driver",
    "power.limit": "power_limit_watts",
    "clocks.max.sm": "max_clock_mhz",
    "clocks.max.memory": "max_memory_clock_mhz",
}
"""What `nvidia-smi` is asked for, and what we call it."""


@cache
def source_version() -> dict[str, Any]:
    """Return the package's version, and the commit where it runs from a checkout or was installed from git."""
    version: dict[str, Any] = {"lilm_search": importlib.metadata.version("lilm-search")}
    here = checkout()
    if (here / ".git").exists() and (commit := _git(here, "rev-parse", "HEAD")):
        changed = bool(_git(here, "status", "--porcelain", "--untracked-files=no"))
        return version | {"commit": commit, "changed_since_commit": changed}
    installed = json.loads(importlib.metadata.distribution("lilm-search").read_text("direct_url.json") or "{}")
    commit = installed.get("vcs_info", {}).get("commit_id")
    return version | ({"commit": commit} if commit else {})


def _git(folder: Path, *arguments: str) -> str:
    if not shutil.which("git"):
        return ""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def provenance(device: "torch.device", precision: str, machine: "Machine | None" = None) -> dict[str, Any]:
    """Return what a run's result may depend on besides its configuration and data."""
    import torch

    image = os.environ.get("LILM_SEARCH_IMAGE")
    return {
        **source_version(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        **{name: importlib.metadata.version(name) for name in LIBRARIES},
        "device": device_name(device),
        **(_cuda(device) if device.type == "cuda" else {}),
        **({"hardware": machine.table()} if machine else {}),
        "precision": precision,
        "host": platform.node(),
        **({"image": image} if image else {}),
    }


def of_run(
    device: "torch.device", result: "Result", machine: "Machine | None", *, seed: int, budget_seconds: float
) -> dict[str, Any]:
    """Return the provenance of one run that has ended."""
    own = {"seed": seed, "budget_seconds": budget_seconds, "mode": result.mode, "micro_batch": result.micro_batch}
    return provenance(device, result.precision, machine) | own


def nameless(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's provenance as it may leave the study: without the host's name; hardware stands apart there."""
    return {k: v for k, v in known.items() if k not in ("host", "hardware")}


def hashes(corpus: "Corpus") -> dict[str, str]:
    """Return the identity of a text and of its tokenizer, and how the text is evaluated."""
    return {"text_sha256": corpus.text_sha256, "tokenizer_sha256": corpus.tokenizer.sha256, "evaluation": PROTOCOL}


def _cuda(device: "torch.device") -> dict[str, Any]:
    import torch

    known = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]
    uuid = str(getattr(torch.cuda.get_device_properties(device), "uuid", ""))
    return {k: v for k, v in known.items() if v is not None} | gpu_facts(uuid)


@cache
def gpu_facts(uuid: str) -> dict[str, Any]:
    """Return driver, power limit and clocks of a GPU as `nvidia-smi` tells them; nothing where it can't."""
    if not uuid or not (program := shutil.which("nvidia-smi")):
        return {}
    name = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
    asked = [f"--query-gpu={','.join(GPU_FACTS)}", "--format=csv,noheader,nounits", f"--id={name}"]
    try:
        done = subprocess.run(
            [program, *asked], capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    answers = [a.strip() for a in done.stdout.strip().split(",")]
    if done.returncode or len(answers) != len(GPU_FACTS):
        return {}
    told = dict(zip(GPU_FACTS.values(), answers, strict=True))
    numbers = {key: read_number(answer) for key, answer in told.items() if key != "driver"}
    driver = {"driver": told["driver"]} if told["driver"][:1].isdigit() else {}
    return driver | {key: number for key, number in numbers.items() if number is not None}
