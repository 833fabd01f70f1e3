"""`init`: inspects the text and this machine, writes the study file, and prints what to check."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from model.config import ModelConfig
from model.data.text_files import expanded
from model.errors import DeviceMemoryError
from model.training.compiling import shall_compile
from model.training.reference_step import Reference, tokens_per_second
from search.common.durations import parse_duration
from search.common.errors import SearchError
from search.common.next_commands import next_commands
from search.init.inspect_text import Ask, Text, inspect
from search.init.sizing import Size, Speed, confirm_budget, default_budget
from search.init.study_text import check_free, count, human, render, write
from search.init.vocabulary import fit_vocabularies
from search.machine.gpu_catalog import usd_per_hour
from search.machine.hardware import Hardware, detect_hardware
from search.machine.slots import slots
from search.study.study_file import study_name

Say = Callable[[str], None]
FEW_BYTES = 2e6
"""Size below which a text is called little."""
MANY_PASSES = 4.0
"""Passes of a confirmation run over the text above which more text is advised."""


def make(
    source: str, column: str | None, out: Path, budget: str | None, force: bool, device: Any, ask: Ask | None, say: Say
) -> None:
    """Write the study file; raises `SearchError` or `DataError` before anything is written."""
    if out.suffix != ".toml":
        raise SearchError(f"--out is {out}, but must end in .toml")
    name = study_name(str(out))
    if budget:
        confirm_budget(budget)  # refused before anything is read
    check_free(out, force)
    text = inspect(source, column, ask)
    long_seconds = parse_duration(confirm_budget(budget or default_budget(device.type)))
    compiled = shall_compile("auto", device, long_seconds)
    machine, memory = worker_hardware(device, compiled)
    text, sized = fit_vocabularies(text, machine, memory, budget, speed_meter(device, compiled))
    price = usd_per_hour(machine.name) if machine.kind == "cuda" else (0.0, "your own machine")
    write(out, render(name, text, machine, sized, relative_source(source, out), price), force)
    for line in report(text, machine, sized, out):
        say(line)


def worker_hardware(device: torch.device, compiled: bool) -> tuple[Hardware, float]:
    """Return the hardware that one worker of `start` would have on this machine, and its memory in bytes."""
    if device.type == "cuda":
        machine = detect_hardware(device, compiled)
        return machine, machine.memory_gib * 2**30
    fleet = slots()
    if fleet[0].device == "cpu":
        torch.set_num_threads(fleet[0].threads)
    return detect_hardware(device), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / max(1, len(fleet))


def speed_meter(device: torch.device, compiled: bool) -> Speed:
    """Return a function that measures a network's tokens per second, in a second or two, as the study will run it.

    Only the first network is compiled, in 5 to 25 s: its gain is taken to hold for the others, which are one or two
    sizes larger or smaller.
    """
    gains: list[float] = []

    def speed(network: ModelConfig, vocab: int) -> float:
        shape = Reference(network=network, vocab_size=vocab, batch_size=16, rounds=3, round_seconds=0.2)
        try:
            eager = tokens_per_second(shape, device)
            if compiled and not gains:
                gains.append(tokens_per_second(shape, device, compiled=True) / eager)
        except DeviceMemoryError:
            return 0.0
        return eager * gains[0] if compiled else eager

    return speed


def relative_source(source: str, out: Path) -> str:
    """Return the source for the study file: a path below the file's folder becomes relative to it."""
    if source == "builtin" or source.startswith("hf:"):
        return source
    path, folder = expanded(source).absolute(), out.absolute().parent
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def report(text: Text, machine: Hardware, sized: Size, out: Path) -> list[str]:
    """Return lines with the properties found, what to check, and what to do next."""
    by_hand = sized.by_hand
    deep = f"{by_hand.n_layer} layer{'s' * (by_hand.n_layer > 1)}"
    network = f"{deep} of width {by_hand.d_model}, vocabulary {sized.vocab_size}"
    first = text.first[0][:60].replace("\n", " ")
    properties = [
        f"  text     {_amount(text)}; {_rows(text)}",
        f"  machine  {machine.label}, reference step {machine.speed}",
        f"  by hand  {network}: about {sized.tokens_per_param:,.0f} tokens per parameter in {sized.confirm}",
        f"  study    {sized.trials} × {sized.budget}, then about a dozen × {sized.confirm}; "
        f"networks up to {count(sized.most_parameters)} parameters",
    ]
    return [
        "Found:",
        *properties,
        "Check:",
        *(f"  – {c}" for c in checks(text, sized, first)),
        f"Wrote {out}. Next:",
        *(f"  {line}" for line in next_commands("init", out)),
    ]


def _amount(text: Text) -> str:
    column = f"column `{text.column}`, " if text.column else ""
    return column + (f"about {human(text.total_bytes)}" if text.total_bytes else "of unknown size")


def _rows(text: Text) -> str:
    if text.max_row_bytes:
        return f"one long row, cut into pieces of {text.max_row_bytes:,} bytes at most, each a document"
    if text.rows_per_document == 1:
        return f"a row is a document ({text.row_bytes:,.0f} bytes on average)"
    return f"a row is a line ({text.row_bytes:,.0f} bytes on average), {text.rows_per_document} make a document"


def checks(text: Text, sized: Size, first: str) -> list[str]:
    """Return what a person should check before hours are spent."""
    printed = "".join(c if c.isprintable() else "?" for c in first)
    lines = [f'is this the text you mean? "{printed}"']
    if text.others:
        lines.append(f"other columns hold text, too: {', '.join(text.others)}; --column takes another")
    if text.total_bytes is not None and text.total_bytes < FEW_BYTES:
        lines.append(f"{human(text.total_bytes)} is little text: networks learn it by heart, and BPB says little")
    elif sized.passes is not None and sized.passes > MANY_PASSES:
        lines.append(
            f"a {sized.confirm} run passes over the text about {sized.passes:.0f} times; more text may help more"
        )
    lines.append("the budget of [confirm] is the training time that the answer is for")
    return lines
