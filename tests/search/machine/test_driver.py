"""Which build of torch a driver runs; the driver is told by a real program in nvidia-smi's place."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from search.cli.options import pick_device
from search.common.errors import SearchError
from search.machine.driver import driver_too_old, fallback_build, installed_driver, reinstall, why_no_gpu


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file whose text `nvidia-smi` prints; without it, it fails."""
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat {tmp_path}/version\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "version"


def test_a_driver_that_is_older_than_torchs_cuda() -> None:
    """The oldest drivers are NVIDIA's own, of the table of minor version compatibility in its release notes."""
    assert driver_too_old("535.104.05", "13.0").startswith("driver 535.104.05 can't run torch's CUDA 13.0")
    assert driver_too_old("470.82", "12.6")
    assert not driver_too_old("535.104.05", "12.6")
    assert not driver_too_old("580.65.06", "13.0")
    assert driver_too_old("579.99", "13.0")
    assert fallback_build().endswith("/cu126")
    assert reinstall("535.104.05").endswith("/cu126")
    assert reinstall("580.65.06").endswith("/cu130")


def test_what_the_driver_is(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed_driver() == ""
    driver.write_text("Failed to initialize NVML: Driver/library version mismatch\n")
    assert installed_driver() == ""
    driver.write_text("535.104.05\n535.104.05\n")
    assert installed_driver() == "535.104.05"
    monkeypatch.setenv("PATH", "/nowhere")
    assert installed_driver() == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_torch_does_not_see_is_explained(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is told to use the GPU says so in a sentence, and doesn't train on the CPU instead."""
    assert why_no_gpu() == ""
    driver.write_text("535.104.05\n")
    monkeypatch.setattr(torch, "version", SimpleNamespace(cuda="13.0"))
    with pytest.raises(
        SearchError, match=r"driver 535\.104\.05 can't run torch's CUDA 13\.0, which needs 580 or later"
    ):
        pick_device("cuda")
    driver.write_text("580.65.06\n")
    assert why_no_gpu() == ""
    monkeypatch.setattr(torch, "version", SimpleNamespace(cuda=None))
    assert "is a CPU build" in why_no_gpu()
