"""Troubles of GPUs, as a real program in nvidia-smi's place tells them; this torch is a CPU build, or sees no GPU."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from search.doctor import gpu
from search.doctor.finding import Finding
from search.doctor.gpu import look

WELL = "0, NVIDIA GeForce RTX 4090, 580.65.06, 24564, 12, 450.00, 450.00, 0x0000000000000001, 41, Default"
NOWHERE = Path("/no/such/driver")


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write the program that answers for nvidia-smi."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def write(script: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return write


def answers(cards: str, programs: str = "") -> str:
    return f'case "$1" in --query-gpu=*) printf "%s\\n" "{cards}" ;; *) printf "%s" "{programs}" ;; esac'


def told(**options: Any) -> dict[str, Finding]:
    return {f.name: f for f in look(driver_files=NOWHERE, **options)}


def card_of(row: str) -> gpu.Card:
    return gpu._card(0, dict(zip(gpu.FACTS, (part.strip() for part in row.split(",")), strict=True)))


def test_without_a_gpu_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    if not torch.cuda.is_available():
        assert [(f.name, f.state) for f in look(driver_files=NOWHERE)] == [("torch", "ok")]


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch is built for GPUs")
def test_a_cpu_build_beside_a_gpu(smi: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(answers(WELL))
    found = told()
    assert found["torch"].state == "BAD"
    assert "is a CPU build, but there is an NVIDIA GPU" in found["torch"].found
    assert found["torch"].cure.endswith("/whl/cu130")
    assert found["gpu 0"].found == "NVIDIA GeForce RTX 4090, driver 580.65.06, 24 GiB, 41 °C"
    smi(answers(WELL.replace("580.65.06", "535.104.05")))
    assert told()["torch"].cure.endswith("/whl/cu126")
    monkeypatch.setenv("PATH", "/nowhere")  # a container with the driver's files alone
    assert {f.name: f.state for f in look(driver_files=Path("/proc"))} == {"torch": "BAD"}


def test_a_driver_that_is_older_than_torchs_cuda() -> None:
    blind = SimpleNamespace(is_available=lambda: False)
    fake = SimpleNamespace(__version__="2.13.0", version=SimpleNamespace(cuda="13.0"), cuda=blind)
    cards = [card_of(WELL.replace("580.65.06", "535.1"))]
    (found,) = gpu._build(fake, cards, True)
    assert (found.name, found.state, found.cure.endswith("/whl/cu126")) == ("driver", "BAD", True)
    (found,) = gpu._build(fake, [], True)
    assert (found.name, found.state, "sees no GPU" in found.found) == ("torch", "BAD", True)


@pytest.mark.parametrize(
    ("before", "after", "state", "said", "cure"),
    [
        ("24564, 12,", "24564, 4000,", "note", "3.9 of 24 GiB are taken by other programs", "nvidia-smi"),
        ("24564, 12,", "24564, 20000,", "BAD", "19.5 of 24 GiB are taken by other programs", "--device"),
        ("450.00, 450.00", "250.00, 450.00", "note", "capped at 250 W of 450 W", "sudo nvidia-smi -i 0 -pl 450"),
        ("0x0000000000000001, 41", "0x0000000000000020, 91", "BAD", "slowed down by heat at 91 °C", "cool"),
        ("0x0000000000000001", "0x0000000000000080", "BAD", "slowed down by power brake", "cool"),
        ("Default", "Prohibited", "BAD", "compute mode admits no program", "-c DEFAULT"),
    ],
)
def test_what_slows_or_fills_a_gpu(smi: Any, before: str, after: str, state: str, said: str, cure: str) -> None:
    smi(answers(WELL.replace(before, after), "4242, 3990 MiB, python"))
    found = told()
    assert (found["gpu 0"].state, said in found["gpu 0"].found, cure in found["gpu 0"].cure) == (state, True, True)
    assert ("gpu memory" in found) == ("taken" in said)
    if "taken" in said:
        assert found["gpu memory"].found == "4242, 3990 MiB, python"


def test_facts_that_a_driver_does_not_tell_are_no_trouble(smi: Any) -> None:
    smi(answers("0, Some GPU, 580.1, 24564, [N/A], [N/A], [N/A], [N/A], [N/A], Default"))
    assert told()["gpu 0"].found == "Some GPU, driver 580.1, 24 GiB"


def test_a_driver_that_fails_or_hangs_is_named(smi: Any) -> None:
    smi("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    found = told()["driver"]
    assert (found.state, "Driver/library version mismatch" in found.found, "reboot" in found.cure) == (
        "BAD",
        True,
        True,
    )
    smi("exec sleep 60")
    found = told(seconds=0.3)["driver"]
    assert (found.state, found.found) == ("BAD", "nvidia-smi hangs: no answer within 0.3 s")


ERRORS = ("[Unknown Error]", "ERR!", "[GPU requires reset]", "[GPU is lost]", "[Reset Required]", "[Timeout]")
ABSENT = ("[N/A]", "N/A", "[Not Supported]", "[Not Found]", "")


@pytest.mark.parametrize("fact", gpu.FACTS[1:])
@pytest.mark.parametrize("words", ERRORS)
def test_words_of_an_error_in_any_fact_are_bad_news(fact: str, words: str) -> None:
    (found,) = gpu.of_card(card_of(told_instead(fact, words)))
    assert (found.state, found.name) == ("BAD", "gpu 0")
    assert f"{fact}: {words.strip('[]')}" in found.found
    assert "nvidia-smi --gpu-reset -i 0" in found.cure


@pytest.mark.parametrize("fact", gpu.FACTS[1:])
@pytest.mark.parametrize("words", ABSENT)
def test_words_of_absence_in_any_fact_are_not(fact: str, words: str) -> None:
    (found,) = gpu.of_card(card_of(told_instead(fact, words)))
    assert found.state == "ok"


@pytest.mark.parametrize("words", ["[Insufficient Permissions]", "[Requested functionality has been deprecated]"])
def test_a_fact_that_is_refused_is_no_reason_to_reboot(words: str) -> None:
    (found,) = gpu.of_card(card_of(told_instead("power.limit", words)))
    assert (found.state, "power.limit" in found.found) == ("note", True)
    assert "boot" not in found.cure + found.found
    assert "reset" not in found.cure + found.found


def test_a_card_that_is_lost_beside_one_that_is_well(smi: Any) -> None:
    lost = "1, [Unknown Error], [Unknown Error], [GPU is lost], [N/A], [N/A], [N/A], [Unknown Error], [N/A], [N/A]"
    smi(answers(f"{WELL}\n{lost}"))
    found = told()
    assert (found["gpu 0"].state, found["gpu 1"].state) == ("ok", "BAD")
    smi(answers(f"Unable to determine the device handle for GPU0000:01:00.0: Unknown Error\n{WELL}"))
    found = told()
    assert (found["driver"].state, "device handle" in found["driver"].found) == ("BAD", True)


@pytest.mark.parametrize(
    ("said", "code", "cure"),
    [
        ("NVIDIA-SMI has failed: Insufficient Permissions", 4, "ls -l /dev/nvidia*"),
        ('Field \\"memory.none\\" is not a valid field to query.', 2, "another version of the driver"),
        ("Unable to determine the device handle for GPU0000:01:00.0: GPU is lost.", 15, "reboot"),
    ],
)
def test_the_cure_is_one_of_what_is_the_matter(smi: Any, said: str, code: int, cure: str) -> None:
    smi(f'echo "{said}"; exit {code}')
    found = told()["driver"]
    assert (found.state, cure in found.cure, "reboot" in found.cure) == ("BAD", True, cure == "reboot")


def test_a_field_that_this_driver_calls_otherwise_is_left_out(smi: Any) -> None:
    without = ", ".join(part for i, part in enumerate(WELL.split(", ")) if i != 7)
    refused = 'echo "Field \\"clocks_throttle_reasons.active\\" is not a valid field to query."; exit 2'
    smi(f'case "$1" in *throttle*) {refused} ;; *) echo "{without}" ;; esac')
    assert told()["gpu 0"].state == "ok"


def told_instead(fact: str, words: str) -> str:
    parts = WELL.split(", ")
    parts[gpu.FACTS.index(fact)] = words
    return ", ".join(parts)
