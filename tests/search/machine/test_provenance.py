"""What is known of the machine and the program behind a run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy
import optuna
import pytest
import torch

from search.machine import provenance
from search.machine.provenance import gpu_details, source_version

NVIDIA_SMI = """#!/bin/sh
echo "$@" > {folder}/asked
echo "{answer}"
exit {code}
"""


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for an `nvidia-smi` of our own, the first on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    gpu_details.cache_clear()
    return tmp_path


def install(folder: Path, answer: str, code: int = 0) -> None:
    program = folder / "nvidia-smi"
    program.write_text(NVIDIA_SMI.format(folder=folder, answer=answer, code=code))
    program.chmod(0o755)


def test_a_gpus_driver_limit_and_clocks_are_asked_for_by_its_id(smi: Path) -> None:
    install(smi, "550.90, 350.00, 3105, 10501")
    assert gpu_details("0a1b") == {
        "driver": "550.90",
        "power_limit_watts": 350.0,
        "max_clock_mhz": 3105.0,
        "max_memory_clock_mhz": 10501.0,
    }
    asked = (smi / "asked").read_text().split()
    assert asked == [
        "--query-gpu=driver_version,power.limit,clocks.max.sm,clocks.max.memory",
        "--format=csv,noheader,nounits",
        "--id=GPU-0a1b",
    ]


@pytest.mark.parametrize(
    ("answer", "code", "known"),
    [
        ("550.90, [N/A], 3105, [Not Supported]", 0, {"driver": "550.90", "max_clock_mhz": 3105.0}),
        ("550.90, ERR!, N/A, nan", 0, {"driver": "550.90"}),
        ("[Unknown Error], 350.00, , [GPU is lost]", 0, {"power_limit_watts": 350.0}),
        ("No devices were found", 6, {}),
        ("No devices were found", 0, {}),
    ],
)
def test_what_a_driver_does_not_tell_is_left_out(smi: Path, answer: str, code: int, known: dict[str, object]) -> None:
    install(smi, answer, code)
    assert gpu_details("GPU-0a1b") == known


def test_without_the_program_nothing_is_known(smi: Path) -> None:
    assert gpu_details("0a1b") == {}


def test_versions_are_those_of_what_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LILM_SEARCH_IMAGE", raising=False)
    known = provenance.provenance(torch.device("cpu"), "float32")
    assert (known["numpy"], known["optuna"], known["torch"]) == (
        numpy.__version__,
        optuna.__version__,
        torch.__version__,
    )
    assert known["python"] == sys.version.split()[0]
    assert not {"image", "cuda", "driver", "hardware"} & known.keys()
    assert json.loads(json.dumps(known)) == known


def test_a_checkouts_commit_and_whether_it_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository of our own in the place of the package's."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "provenance.py").write_text("")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    monkeypatch.setattr(provenance, "checkout", lambda: tmp_path)
    for text, changed in (("", False), ("changed", True)):
        (tmp_path / "search" / "provenance.py").write_text(text)
        source_version.cache_clear()
        known = source_version()
        assert (known["commit"], known["changed_since_commit"]) == (head, changed)
    source_version.cache_clear()
