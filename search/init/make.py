"""`init`: looks at the text and at this machine, writes the study file, says what was found and what to check."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from model.config import ModelConfig
from model.data.text_files import expanded
from model.errors import DeviceMemoryError
from model.training.reference_step import Reference, tokens_per_second
from search.common.errors import SearchError
from search.common.next_commands import next_commands
from search.init.inspect_text import Ask, Text, look
from search.init.sizing import Size, Speed, longer
from search.init.study_text import check_free, count, human, render, write
from search.init.vocabulary import fitted
from search.machine.gpu_catalog import usd_per_hour
from search.machine.hardware import Machine
from search.machine.hardware import look as look_at_machine
from search.machine.slots import slots
from search.study.study_file import study_name

Say = Callable[[str], None]
FEW_BYTES = 2e6
MANY_PASSES = 4.0


def make(
    source: str, column: str | None, out: Path, budget: str | None, force: bool, device: Any, ask: Ask | None, say: Say
) -> None:
    """Write the study file; raises `SearchError` or `DataError` before anything is written."""
    if out.suffix != ".toml":
        raise SearchError(f"--out is {out}, but must end in .toml")
    name = study_name(str(out))
    if budget:
        longer(budget)  # refused before anything is read
    check_free(out, force)
    text = look(source, column, ask)
    machine, memory = here(device)
    text, sized = fitted(text, machine, memory, budget, measuring(device))
    price = usd_per_hour(machine.name) if machine.kind == "cuda" else (0.0, "your own machine")
    write(out, render(name, text, machine, sized, beside(source, out), price), force)
    for line in report(text, machine, sized, out):
        say(line)


def here(device: torch.device) -> tuple[Machine, float]:
    """Return what one worker of `start` would have here, and its memory in bytes."""
    if device.type == "cuda":
        machine = look_at_machine(device)
        return machine, machine.memory_gib * 2**30
    fleet = slots()
    if fleet[0].device == "cpu":
        torch.set_num_threads(fleet[0].threads)
    return look_at_machine(device), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / max(1, len(fleet))


def measuring(device: torch.device) -> Speed:
    """Return what measures a network's tokens a second, in a second or two each."""

    def speed(network: ModelConfig, vocab: int) -> float:
        shape = Reference(network=network, vocab_size=vocab, batch_size=16, rounds=3, round_seconds=0.2)
        try:
            return tokens_per_second(shape, device)
        except DeviceMemoryError:
            return 0.0

    return speed


def beside(source: str, out: Path) -> str:
    """Return the source as the file is to name it: what lies below the file's folder, by its path from there."""
    if source == "builtin" or source.startswith("hf:"):
        return source
    path, folder = expanded(source).absolute(), out.absolute().parent
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def report(text: Text, machine: Machine, sized: Size, out: Path) -> list[str]:
    """Return what was found, what to check, and what to do next."""
    by_hand = sized.by_hand
    deep = f"{by_hand.n_layer} layer{'s' * (by_hand.n_layer > 1)}"
    network = f"{deep} of width {by_hand.d_model}, vocabulary {sized.vocab_size}"
    first = text.first[0][:60].replace("\n", " ")
    found = [
        f"  text     {_amount(text)}; {_rows(text)}",
        f"  machine  {machine.label}, reference step {machine.speed}",
        f"  by hand  {network}: about {sized.tokens_per_param:,.0f} tokens per parameter in {sized.confirm}",
        f"  study    {sized.trials} × {sized.budget}, then about a dozen × {sized.confirm}; "
        f"networks up to {count(sized.most_parameters)} parameters",
    ]
    return [
        "Found:",
        *found,
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
    """Return what a person should look at before hours are spent."""
    shown = "".join(c if c.isprintable() else "?" for c in first)
    found = [f'is this the text you mean? "{shown}"']
    if text.others:
        found.append(f"other columns hold text, too: {', '.join(text.others)}; --column takes another")
    if text.total_bytes is not None and text.total_bytes < FEW_BYTES:
        found.append(f"{human(text.total_bytes)} is little text: networks learn it by heart, and BPB says little")
    elif sized.passes is not None and sized.passes > MANY_PASSES:
        found.append(
            f"a {sized.confirm} run passes over the text about {sized.passes:.0f} times; more text may help more"
        )
    found.append("the budget of [confirm] is the training time that the answer is for")
    return found
