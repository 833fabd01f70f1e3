"""Exports read back from TOML, JSON, YAML, scripts, bundles and folders: what each trains, and what it claims."""

import contextlib
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from model.config import DataConfig
from model.errors import SettingsError
from model.settings import deeper
from search.common.errors import SearchError
from search.export.script import read_script
from search.study.plan import Configuration
from search.study.results import Noise
from search.study.settings import Fidelity
from search.study.space import RECORDS

if TYPE_CHECKING:
    from search.machine.hardware import Hardware

LIST = "configurations"
"""Key of the exports in a file of several."""
EXPORTS = "`lilm-search export --study NAME > best.toml` writes one"
Place = Path | zipfile.Path
"""Of an export: a file, or one in a bundle."""


@dataclass(frozen=True)
class Recipe:
    """What `train --config` needs of an export."""

    data: DataConfig
    configuration: Configuration
    budget: str
    horizon: str | None = None
    """Budget whose schedule is followed, where the run is the first part of a longer one."""


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
    machine: "Hardware | None"
    """The hardware whose seconds the budget counts."""
    provenance: Mapping[str, Any]
    """With the hashes of text and tokenizer."""
    tokens_per_second: float | None
    """In training, on average."""


@dataclass(frozen=True)
class Export:
    """One export as it stands in a file; its parts are looked at once they are asked for."""

    path: Place
    table: Mapping[str, Any]
    """All of its keys."""

    @cached_property
    def recipe(self) -> Recipe:
        """What it trains; raises `SearchError` that names file and key."""
        table = self.table
        try:
            sections = {s: record.parse(table[s], f"[{s}]") for s, record in RECORDS.items()}
            data = DataConfig.parse(table["data"], "[data]")
            budget = Fidelity(budget=table["budget"]).budget
            horizon = Fidelity(budget=table["horizon"]).budget if "horizon" in table else None
        except SettingsError as error:
            raise SearchError(f"{self.path}: {error}") from None
        return Recipe(data, Configuration(**sections), budget, horizon)  # type: ignore[arg-type]

    @cached_property
    def claim(self) -> Claimed:
        """What it claims; raises `SearchError` that names file and key."""
        from search.machine.hardware import Hardware

        path, table = self.path, self.table
        result = _typed(path, table, "result", dict)
        noise = result.get("seed_noise")
        noise = _typed(path, result, "seed_noise", dict) if noise is not None else {}
        seeds = _typed(path, result, "seeds", list)
        if not seeds or not all(type(s) is int for s in seeds):
            raise SearchError(f"{path}: `seeds` is {seeds!r}, but must be a list of integers")
        try:
            machine = Hardware.parse(table["hardware"], "[hardware]") if "hardware" in table else None
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


def read_tables(path: Place) -> list[Any]:
    """Read what a file holds in any format: one export, or several; raises `SearchError` where it can't be read."""
    try:
        table = _parse(path.read_text(encoding="utf-8-sig"))
        table = None if deeper(table) else table
    except UnicodeDecodeError:
        raise SearchError(f"{path}: not an export of lilm-search, which is text; {EXPORTS}") from None
    except OSError as error:
        raise SearchError(f"{path}: can't be read: {error.strerror or error}") from None
    return table[LIST] if isinstance(table, dict) and isinstance(table.get(LIST), list) else [table]


def read_exports(path: Place) -> list[Export]:
    """Read every export in a file, the best first; raises `SearchError` where one of them is none."""
    return [_export(path, table) for table in read_tables(path)]


def read_export(path: Place, rank: int | None = None) -> Export:
    """Read a file's export, or of a file of several the one of this rank.

    Raises `SearchError` where it is none, or which is meant isn't said.
    """
    several = read_tables(path)
    if rank is None and len(several) > 1:
        raise SearchError(f"{path}: holds {len(several)} configurations; say which with --rank, 1 for the best")
    if not 1 <= (rank or 1) <= len(several):
        raise SearchError(f"--rank is {rank}, but {path} holds {len(several)}")
    return _export(path, several[(rank or 1) - 1])


def _export(path: Place, table: Any) -> Export:
    if not isinstance(table, dict) or not {"data", "budget", *RECORDS} <= table.keys():
        raise SearchError(f"{path}: {_what_else(path, table)}")
    return Export(path, table)


def _what_else(path: Place, table: Any) -> str:
    """Return what a file is that is no export, and how one is had."""
    if isinstance(table, dict) and {"proxy", "space"} & table.keys():
        return f"that is a study file; `lilm-search export --study {path} > best.toml` writes an export"
    if not isinstance(table, dict) and Path(path.name).suffix == ".toml":
        try:
            tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except tomllib.TOMLDecodeError as error:
            return f"not an export of lilm-search: not valid TOML: {error}"
        except (ValueError, RecursionError):
            pass
    return f"not an export of lilm-search (it needs data, tokenizer, model, train and budget); {EXPORTS}"


class _Plain(yaml.SafeLoader):
    """YAML as our exports have it: a few aliases would make gigabytes of a short text (a "billion laughs")."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)


def _parse(text: str) -> Any:
    """TOML, or a script's table, or else YAML, of which JSON is a part; None where it is none of them."""
    with contextlib.suppress(ValueError, RecursionError):
        return tomllib.loads(text)
    if (table := read_script(text)) is not None:
        return table
    # Besides its own errors the reader has those of what it makes: a day such as 2026-02-30, a number of 5,000 digits.
    with contextlib.suppress(yaml.YAMLError, ValueError, AttributeError, RecursionError):
        return yaml.load(text, Loader=_Plain)
    return None


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
