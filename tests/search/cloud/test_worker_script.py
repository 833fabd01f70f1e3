"""The set-up of a rented machine, run: which build of torch it installs, and that it stops where no GPU can be used."""

from pathlib import Path

import pytest

from search.cloud.rental import Rental, rental
from search.cloud.without_skypilot import bare, slurm
from search.cloud.worker_script import CREDENTIAL, Bundle, install_rented
from search.study.requested import capped
from search.study.study_file import read
from tests.places import ROOT
from tests.search.cloud.rented_machine import RentedMachine

BUNDLE = Bundle(requirement="lilm_search-0.1.0-py3-none-any.whl", constraints=True, ca=False)
PINS = "-m pip install --quiet --constraint constraints.txt"
OTHER_BUILD = f"{PINS} --no-deps --index-url https://download.pytorch.org/whl/cu126 torch"
OURS = f"{PINS} ./{BUNDLE.requirement}"


def rented(gpu: str = "RTX4090", workers_asked: int = 1) -> Rental:
    plan = capped(read("babylm"), 30.0)
    return rental(plan, token="3f2a", gpu=gpu, workers_asked=workers_asked, dollars_left=30.0)


@pytest.mark.parametrize(
    ("driver", "pip"),
    [
        ("580.65.06\n", [OURS]),
        ("610.10\n610.10\n", [OURS]),
        ("575.57.08\n", [OTHER_BUILD, OURS]),
        ("535.104.05\n535.104.05\n", [OTHER_BUILD, OURS]),
    ],
)
def test_the_build_of_torch_is_one_that_the_driver_runs(tmp_path: Path, driver: str, pip: list[str]) -> None:
    machine = RentedMachine(tmp_path, driver)
    done = machine.run(install_rented(BUNDLE, 1), "home")
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.lines("pip") == pip
    again = machine.run(install_rented(BUNDLE, 1), "home")
    assert again.returncode == 0
    assert machine.lines("pip") == pip  # what is there already is tried, and not installed anew


@pytest.mark.parametrize(
    ("driver", "says"),
    [
        ("470.82.01\n", "torch 2.13.0+cu126 (CUDA 12.6) does not run on cuda:0 with driver 470.82.01: The NVIDIA"),
        ("", "torch 2.13.0+cu130 (CUDA 13.0) does not run on cuda:0 with driver unknown: The NVIDIA"),
    ],
)
def test_a_driver_that_runs_no_build_stops_the_set_up(tmp_path: Path, driver: str, says: str) -> None:
    """One sentence, exit code 1, and no worker is started: neither by SkyPilot's task nor without it."""
    for name, script in scripts().items():
        machine = RentedMachine(tmp_path / name, driver)
        done = machine.run(script)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"lilm-search: {says}")
        assert line.endswith("nothing was claimed; take a machine whose driver is 580 or later")
        assert machine.lines("started") == []


def test_a_driver_that_runs_a_build_lets_the_worker_start(tmp_path: Path) -> None:
    for name, script in scripts().items():
        machine = RentedMachine(tmp_path / name, "535.104.05\n")
        (tmp_path / name / "home" / "lilm-search" / CREDENTIAL).write_text("postgresql://box-1:secret@localhost/x\n")
        assert (machine.run(script).returncode, len(machine.lines("started"))) == (0, 1), name


def scripts() -> dict[str, str]:
    """Return what installs and starts a worker, for each way of getting a machine."""
    return {
        "rented": f"{install_rented(BUNDLE, 1)}\nvenv/bin/lilm-search worker",
        "bare": bare(rented(), BUNDLE),
        "slurm": slurm(rented(), BUNDLE).replace("SLURM_ARRAY_TASK_ID:?", "HOME:?"),
    }


def test_a_missing_gpu_stops_the_set_up(tmp_path: Path) -> None:
    machine = RentedMachine(tmp_path, "580.65.06\n", gpus=1)
    done = machine.run(install_rented(BUNDLE, 2), "home")
    assert done.returncode == 1
    assert "does not run on cuda:1 with driver 580.65.06: CUDA error: invalid device ordinal" in done.stderr


def test_a_build_that_can_not_be_had_stops_the_set_up(tmp_path: Path) -> None:
    machine = RentedMachine(tmp_path, "535.104.05\n")
    (tmp_path / "unreachable").touch()
    assert machine.run(install_rented(BUNDLE, 1), "home").returncode == 1
    assert machine.lines("pip") == [OTHER_BUILD]


def test_machines_without_a_gpu_are_not_tried(tmp_path: Path) -> None:
    machine = RentedMachine(tmp_path, "")
    assert machine.run(install_rented(BUNDLE, 0), "home").returncode == 0
    assert machine.lines("pip") == [OURS]


def test_the_containers_build_can_be_chosen_as_well() -> None:
    """The image's argument names folders of the same address."""
    text = (ROOT / "Dockerfile").read_text()
    assert "ARG TORCH_BUILD=" in text
    assert "https://download.pytorch.org/whl/$TORCH_BUILD" in text
    assert "TORCH_BUILD: cpu" in (ROOT / "docker-compose.yml").read_text()
