"""What an export, bundle or checkpoint claims of its model: BPB, interval, and on what it was measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.errors import SettingsError
from search.common.errors import SearchError
from search.export.reader import Place, read_table
from search.machine.hardware import Machine
from search.study.results import Noise


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """What an export says of its configuration's BPB, and of where it was measured."""

    label: str
    """The study's name and the configuration's."""
    val_bpb: float
    """Mean over the seeds."""
    seeds: tuple[int, ...]
    """Of the runs behind it."""
    noise: Noise
    """From seed to seed."""
    noise_of: str
    """The runs that it was measured on."""
    machine: Machine | None
    """The hardware whose seconds the budget counts."""
    provenance: Mapping[str, Any]
    """With the hashes of text and tokenizer."""
    tokens_per_second: float | None
    """In training, on average."""


def read_claim(path: Place, rank: int | None = None) -> Claimed:
    """Read what an export claims; raises `SearchError` that names file and key."""
    table = read_table(path, rank)
    result = _typed(path, table, "result", dict)
    noise = result.get("seed_noise")
    noise = _typed(path, result, "seed_noise", dict) if noise is not None else {}
    seeds = _typed(path, result, "seeds", list)
    if not seeds or not all(type(s) is int for s in seeds):
        raise SearchError(f"{path}: `seeds` is {seeds!r}, but must be a list of integers")
    try:
        machine = Machine.parse(table["hardware"], "[hardware]") if "hardware" in table else None
    except SettingsError as error:
        raise SearchError(f"{path}: {error}") from None
    return Claimed(
        label=f"{table.get('study', path)}, {table.get('configuration', 'an export')}",
        val_bpb=float(_typed(path, result, "val_bpb", (int, float))),
        seeds=tuple(seeds),
        noise=_noise(path, noise),
        noise_of=str(noise.get("of", "")),
        machine=machine,
        provenance=_typed(path, table, "provenance", dict) if "provenance" in table else {},
        tokens_per_second=result.get("tokens_per_second"),
    )


def _noise(path: Place, table: Mapping[str, Any]) -> Noise:
    if not table:
        return Noise(None, 0)
    deviation, degrees = (_typed(path, table, key, (int, float)) for key in ("deviation", "degrees"))
    if not deviation >= 0 or not degrees >= 1:
        raise SearchError(f"{path}: `seed_noise` is {dict(table)}, but must have deviation >= 0 and degrees >= 1")
    return Noise(float(deviation), int(degrees))


def _typed(path: Place, table: Mapping[str, Any], key: str, kind: Any) -> Any:
    if not isinstance(table.get(key), kind) or isinstance(table.get(key), bool):
        names = {dict: "a table", list: "a list"}
        raise SearchError(f"{path}: `{key}` is {table.get(key)!r}, but must be {names.get(kind, 'a number')}")
    return table[key]
