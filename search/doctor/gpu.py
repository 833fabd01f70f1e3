"""The GPU and what torch makes of it, by `nvidia-smi`: build, driver, memory, power, heat."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.doctor.finding import Check, Finding, bad, note, ok
from search.machine.driver import driver_too_old, reinstall
from search.machine.gpu_catalog import read_number

SMI_SECONDS = 10.0
DRIVER_FILES = Path("/proc/driver/nvidia")
FACTS = (
    *("index", "name", "driver_version", "memory.total", "memory.used", "power.limit", "power.default_limit"),
    *("clocks_throttle_reasons.active", "temperature.gpu", "compute_mode"),
)
"""What `nvidia-smi` is asked for."""
SLOWED = {0x8: "hardware slowdown", 0x20: "heat", 0x40: "heat (hardware)", 0x80: "power brake"}
"""Bits of what slows a clock down, of which idleness and a normal power limit are none."""
ABSENT = ("n/a", "not supported", "not found", "not available", "not applicable", "unsupported")
"""Words in place of a fact that this kind of card, or this machine, doesn't have: no bad news."""
REFUSED = ("permission", "deprecated", "not active", "disabled")
"""Words in place of a fact that isn't told, of which no reboot is the cure."""
TAKEN, FULL = 0.05, 0.5
"""Shares of memory that others may hold before it is noted, or bad."""
CAPPED = 0.95


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
    troubles: tuple[tuple[str, str], ...] = ()
    """Facts in whose place words of an error stand, and these."""


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
        yield bad("torch", f"{version} is a CPU build, but there is an NVIDIA GPU", reinstall(newest))
    elif cards and (old := driver_too_old(cards[0].driver, cuda)):
        yield bad("driver", old, f"install a newer driver, or {reinstall(cards[0].driver)}")
    else:
        said = f"{version} (CUDA {cuda}) sees no GPU, though the driver does"
        yield bad("torch", said, "echo $CUDA_VISIBLE_DEVICES; ls -l /dev/nvidia*; in a container, --gpus all")


def of_card(card: Card) -> Iterator[Finding]:
    """Look at one GPU: who has its memory, and what slows it down."""
    name = f"gpu {card.index}"
    facts = [card.name or "GPU"] + ([f"driver {card.driver}"] if card.driver[:1].isdigit() else [])
    facts += [f"{card.total_mib / 1024:.0f} GiB"] if card.total_mib else []
    facts += [f"{card.degrees:.0f} °C"] if card.degrees is not None else []
    well = True
    for look_at in (_faults, _refusals, _memory, _power, _clocks):
        finding = look_at(name, card)
        if finding is not None:
            well = False
            yield finding
    if "Prohibited" in card.mode:
        well = False
        yield bad(name, "its compute mode admits no program", f"sudo nvidia-smi -i {card.index} -c DEFAULT")
    if well:
        yield ok(name, ", ".join(facts))


def _faults(name: str, card: Card) -> Finding | None:
    faults = [f"{fact}: {words}" for fact, words in card.troubles if not _is_refusal(words)]
    if not faults:
        return None
    said = f"nvidia-smi reads errors from it: {_few(faults)}"
    return bad(
        name,
        said,
        f"sudo nvidia-smi --gpu-reset -i {card.index}, else reboot; where it stays so, give the machine back",
    )


def _refusals(name: str, card: Card) -> Finding | None:
    refused = [f"{fact}: {words}" for fact, words in card.troubles if _is_refusal(words)]
    if not refused:
        return None
    return note(
        name,
        f"nvidia-smi doesn't tell all of it: {_few(refused)}",
        "as root it may tell more; training doesn't need it",
    )


def _is_refusal(words: str) -> bool:
    return any(word in words.lower() for word in REFUSED)


def _few(parts: Sequence[str]) -> str:
    return "; ".join(parts[:3]) + (f"; and {len(parts) - 3} more" if len(parts) > 3 else "")


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
    answered = isinstance(answer, subprocess.CompletedProcess) and not answer.returncode
    lines = [line for line in (getattr(answer, "stdout", "") if answered else "").splitlines() if line]
    if lines:
        yield note("gpu memory", "; ".join(lines[:4]) + (f"; and {len(lines) - 4} more" if len(lines) > 4 else ""))


def _cards(seconds: float) -> tuple[list[Card], Finding | None]:
    """Return the GPUs, and what keeps `nvidia-smi` from telling where something does."""
    if shutil.which("nvidia-smi") is None:
        return [], None
    facts, answer = list(FACTS), _ask_cards(FACTS, seconds)
    while unknown := re.search(r'Field "([\w.]+)" is not a valid field', getattr(answer, "stdout", "")):
        if unknown[1] not in facts or len(facts) == 1:
            break
        facts.remove(unknown[1])  # another driver's name for it: the rest is told without
        answer = _ask_cards(facts, seconds)
    if isinstance(answer, str):
        return [], bad("driver", answer, "reboot the machine; where it stays so, give it back")
    if answer.returncode:
        said = " ".join((answer.stdout or answer.stderr).split()) or f"exit code {answer.returncode}"
        return [], bad("driver", f"nvidia-smi fails: {said}", _cure(said))
    rows = [[part.strip() for part in line.split(",")] for line in answer.stdout.strip().splitlines()]
    others = [", ".join(row) for row in rows if len(row) != len(facts)]
    trouble = bad("driver", f"nvidia-smi says: {_few(others)}", _cure(" ".join(others))) if others else None
    return [_card(i, dict(zip(facts, r, strict=True))) for i, r in enumerate(rows) if len(r) == len(facts)], trouble


def _cure(said: str) -> str:
    """Return what to do where `nvidia-smi` refuses all."""
    if "permission" in said.lower():
        return "ask for the right to use the GPU: ls -l /dev/nvidia*; id"
    if "not a valid field" in said or "deprecated" in said.lower():
        return "install another version of the driver: this one doesn't tell what is asked"
    return "reboot the machine, or install the driver anew"


def _ask_cards(facts: Sequence[str], seconds: float) -> "subprocess.CompletedProcess[str] | str":
    return _ask([f"--query-gpu={','.join(facts)}", "--format=csv,noheader,nounits"], seconds)


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


def _card(position: int, told: Mapping[str, str]) -> Card:
    number = {fact: read_number(told.get(fact, "")) for fact in FACTS}
    reasons = told.get("clocks_throttle_reasons.active", "")
    return Card(
        index=told["index"] if told.get("index", "").isdigit() else str(position),
        name=told.get("name", ""),
        driver=told.get("driver_version", ""),
        total_mib=number["memory.total"],
        used_mib=number["memory.used"],
        limit_watts=number["power.limit"],
        default_watts=number["power.default_limit"],
        reasons=int(reasons, 16) if re.fullmatch(r"0x[0-9a-fA-F]+", reasons) else 0,
        degrees=number["temperature.gpu"],
        mode=told.get("compute_mode", ""),
        troubles=tuple((fact, words.strip("[]")) for fact, words in told.items() if _is_trouble(fact, words)),
    )


def _is_trouble(fact: str, words: str) -> bool:
    """Return whether something else than a fact stands in its place, and not that there is none."""
    if fact in ("name", "driver_version", "compute_mode"):
        there = not words.startswith(("[", "ERR"))
    else:
        there = read_number(words) is not None or words.startswith("0x")
    return not there and bool(words.strip("[] ")) and not any(word in words.lower() for word in ABSENT)
