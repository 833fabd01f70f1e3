"""Whether a run is compiled: what is asked for, what pays, and what this machine has for it."""

import os
import shutil
import sysconfig
from dataclasses import replace
from pathlib import Path

import torch

from model.config import TrainConfig
from model.errors import CompileError

REPAYING_SECONDS = 120.0
"""Shortest budget that is compiled by default: a shape not seen before takes 5 to 25 s to compile."""


def compiled_as(training: TrainConfig, device: torch.device, budget_seconds: float) -> TrainConfig:
    """Return the settings with "auto" settled as for a run of such a budget.

    Shorter runs then go at the long one's speed. What compiling gains differs among networks: short runs without it
    would rank others first.
    """
    if training.compile != "auto":
        return training
    return replace(training, compile="on" if shall_compile("auto", device, budget_seconds) else "off")


def shall_compile(wanted: str, device: torch.device, budget_seconds: float) -> bool:
    """Return whether a run of such a budget is compiled; raises `CompileError` where it must be and can't."""
    if wanted == "off" or (wanted == "auto" and budget_seconds < REPAYING_SECONDS):
        return False
    missing = missing_compiler(device)
    if missing and wanted == "on":
        raise CompileError(f'`compile` is "on", but {missing}; install it, or set compile = "off"')
    return not missing


def missing_compiler(device: torch.device) -> str | None:
    """Return what compiling for this device would need and this machine lacks."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            return "Triton is not installed"
        # Triton builds a launcher in C for each kernel, on the machine that runs it.
        if not any(map(shutil.which, (os.environ.get("CC", "gcc"), "gcc", "clang"))):
            return "there is no C compiler (gcc), which Triton needs"
    elif not any(map(shutil.which, ("g++", "clang++"))):
        return "there is no C++ compiler (g++)"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "Python.h is missing (python3-dev)"
    return None
