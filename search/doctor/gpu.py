"""The GPU and what torch makes of it, by `nvidia-smi`: build, driver, memory, power, heat."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.doctor.finding import Check, Finding, bad, note, ok

SMI_SECONDS = 10.0
DRIVER_FILES = Path("/proc/driver/nvidia")
FACTS = (
    *("index", "name", "driver_version", "memory.total", "memory.used", "power.limit", "power.default_limit"),
    *("clocks_throttle_reasons.active", "temperature.gpu", "compute_mode"),
)
"""What `nvidia-smi` is asked for."""
OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
"""Which runs programs built for a version of CUDA; its later releases run on it too."""
SLOWED = {0x8: "hardware slowdown", 0x20: "heat", 0x40: "heat (hardware)", 0x80: "power brake"}
"""Bits of what slows a clock down, of which idleness and a normal power limit are none."""
TAKEN, FULL = 0.05, 0.5
"""Shares of memory that others may hold before it is noted, or bad."""
CAPPED = 0.95
INDEX = "https://download.pytorch.org/whl"


def checks(seconds: float = SMI_SECONDS) -> list[Check]:
    """Return the check of torch and the GPU."""
    return [Check(name="gpu", look=lambda: look(seconds), seconds=seconds + 90.0)]


@dataclass(frozen=True, kw_only=True)
class Card:
    """A GPU as `nvidia-smi` describes it; numbers it doesn't tell are None."""

    index: str
    name: str
    driver: str
    total_mib: float | None
    used_mib: float | None
    limit_watts: float | None
    default_watts: float | None
    reasons: int
    degrees: float | None
    mode: str


def look(seconds: float = SMI_SECONDS, driver_files: Path = DRIVER_FILES) -> Iterator[Finding]:
    """Look at torch's build, the driver, and each GPU."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield bad("torch", f"can't be imported: {error}", "pip install --force-reinstall torch")
        return
    cards, trouble = _cards(seconds)
    if trouble is not None:
        yield trouble
    there = bool(cards) or driver_files.exists()
    yield from _build(torch, cards, there)
    for card in cards:
        yield from of_card(card)
    if cards and any(_taken(c) for c in cards):
        yield from _who(seconds)


def _build(torch: "object", cards: Sequence[Card], there: bool) -> Iterator[Finding]:
    version, cuda = torch.__version__, torch.version.cuda  # type: ignore[attr-defined]
    if torch.cuda.is_available():  # type: ignore[attr-defined]
        yield ok("torch", f"{version} sees {torch.cuda.device_count()} GPUs")  # type: ignore[attr-defined]
    elif not there:
        yield ok("torch", f"{version}; no NVIDIA GPU here: training runs on the CPU")
    elif cuda is None:
        newest = cards[0].driver if cards else ""
        yield bad("torch", f"{version} is a CPU build, but there is an NVIDIA GPU", _reinstall(newest))
    elif cards and (old := driver_too_old(cards[0].driver, cuda)):
        yield bad("driver", old, f"install a newer driver, or {_reinstall(cards[0].driver)}")
    else:
        said = f"{version} (CUDA {cuda}) sees no GPU, though the driver does"
        yield bad("torch", said, "echo $CUDA_VISIBLE_DEVICES; ls -l /dev/nvidia*; in a container, --gpus all")


def driver_too_old(driver: str, cuda: str) -> str:
    """Return what is wrong where a driver can't run what was built for this CUDA; empty where it can."""
    needed = OLDEST_DRIVER.get(_major(cuda), 0)
    return (
        f"driver {driver} can't run torch's CUDA {cuda}, which needs {needed} or later"
        if _major(driver) < needed
        else ""
    )


def _major(version: str) -> int:
    found = re.match(r"\d+", version)
    return int(found[0]) if found else 10**6


def _reinstall(driver: str) -> str:
    """Return how to get a torch that this driver runs."""
    best = max((c for c, oldest in OLDEST_DRIVER.items() if oldest <= _major(driver)), default=12)
    builds = {11: "cu118", 12: "cu126", 13: "cu130"}
    return f"pip install --force-reinstall torch --index-url {INDEX}/{builds[best]}"


def of_card(card: Card) -> Iterator[Finding]:
    """Look at one GPU: who has its memory, and what slows it down."""
    name = f"gpu {card.index}"
    facts = [card.name, f"driver {card.driver}"]
    facts += [f"{card.total_mib / 1024:.0f} GiB"] if card.total_mib else []
    facts += [f"{card.degrees:.0f} °C"] if card.degrees is not None else []
    well = True
    for finding in (_memory(name, card), _power(name, card), _clocks(name, card)):
        if finding is not None:
            well = False
            yield finding
    if "Prohibited" in card.mode:
        well = False
        yield bad(name, "its compute mode admits no program", f"sudo nvidia-smi -i {card.index} -c DEFAULT")
    if well:
        yield ok(name, ", ".join(facts))


def _taken(card: Card) -> bool:
    return bool(card.total_mib and card.used_mib and card.used_mib > TAKEN * card.total_mib)


def _memory(name: str, card: Card) -> Finding | None:
    if not _taken(card):
        return None
    assert card.used_mib is not None
    assert card.total_mib is not None
    said = f"{card.used_mib / 1024:.1f} of {card.total_mib / 1024:.0f} GiB are taken by other programs"
    cure = "end them: nvidia-smi lists them; or train on another GPU: --device cuda:N"
    return (bad if card.used_mib > FULL * card.total_mib else note)(name, said, cure)


def _power(name: str, card: Card) -> Finding | None:
    if not card.limit_watts or not card.default_watts or card.limit_watts >= CAPPED * card.default_watts:
        return None
    said = f"its power is capped at {card.limit_watts:.0f} W of {card.default_watts:.0f} W: runs get less from a budget"
    return note(name, said, f"sudo nvidia-smi -i {card.index} -pl {card.default_watts:.0f}")


def _clocks(name: str, card: Card) -> Finding | None:
    slowed = [why for bit, why in SLOWED.items() if card.reasons & bit]
    if not slowed:
        return None
    said = f"it is slowed down by {', '.join(slowed)}" + (
        f" at {card.degrees:.0f} °C" if card.degrees is not None else ""
    )
    return bad(name, said, "let it cool, or give the machine back; nvidia-smi -q -d PERFORMANCE,POWER")


def _who(seconds: float) -> Iterator[Finding]:
    answer = _ask(["--query-compute-apps=pid,used_memory,process_name", "--format=csv,noheader"], seconds)
    lines = [
        line for line in (answer.stdout if isinstance(answer, subprocess.CompletedProcess) else "").splitlines() if line
    ]
    if lines:
        yield note("gpu memory", "; ".join(lines[:4]) + (f"; and {len(lines) - 4} more" if len(lines) > 4 else ""))


def _cards(seconds: float) -> tuple[list[Card], Finding | None]:
    """Return the GPUs, and what keeps `nvidia-smi` from telling where something does."""
    if shutil.which("nvidia-smi") is None:
        return [], None
    answer = _ask([f"--query-gpu={','.join(FACTS)}", "--format=csv,noheader,nounits"], seconds)
    if isinstance(answer, str):
        return [], bad("driver", answer, "reboot the machine; where it stays so, give it back")
    if answer.returncode:
        said = " ".join((answer.stdout or answer.stderr).split()) or f"exit code {answer.returncode}"
        return [], bad("driver", f"nvidia-smi fails: {said}", "reboot the machine, or install the driver anew")
    rows = [[part.strip() for part in line.split(",")] for line in answer.stdout.strip().splitlines()]
    return [_card(row) for row in rows if len(row) == len(FACTS)], None


def _ask(arguments: Sequence[str], seconds: float) -> "subprocess.CompletedProcess[str] | str":
    try:
        return subprocess.run(
            ["nvidia-smi", *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return f"nvidia-smi hangs: no answer within {seconds:g} s"
    except OSError as error:
        return f"nvidia-smi can't be run: {error.strerror}"


def _card(row: Sequence[str]) -> Card:
    numbers = [_number(text) for text in row]
    reasons = int(row[7], 16) if re.fullmatch(r"0x[0-9a-fA-F]+", row[7]) else 0
    return Card(
        index=row[0],
        name=row[1],
        driver=row[2],
        total_mib=numbers[3],
        used_mib=numbers[4],
        limit_watts=numbers[5],
        default_watts=numbers[6],
        reasons=reasons,
        degrees=numbers[8],
        mode=row[9],
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # "[N/A]"
        return None
