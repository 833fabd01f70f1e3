"""Exports read back from TOML, JSON, YAML, scripts, bundles and folders: what each trains, and its stated result."""

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
"""Key of the list of exports, in a file that holds several."""
HOW_TO_EXPORT = "`lilm-search export --study NAME > best.toml` writes one"
ExportPath = Path | zipfile.Path
"""Path of an export: a file, or a file in a bundle."""


@dataclass(frozen=True)
class ExportedTraining:
    """The part of an export that `train --config` needs."""

    data: DataConfig
    configuration: Configuration
    budget: str
    horizon: str | None = None
    """Budget whose schedule is followed, if the run is the first part of a longer one."""


@dataclass(frozen=True, kw_only=True)
class ExportedResult:
    """The BPB that an export states, and where it was measured."""

    label: str
    """The study's name and the configuration's."""
    val_bpb: float
    """What to expect of the configuration, in bits per byte; the mean over the seeds in exports of older versions."""
    mean_bpb: float
    """Mean over the seeds."""
    half_width: float | None
    """Half of the 95% interval of `val_bpb`; None if the export doesn't state it."""
    new_run_half_width: float | None
    """Half of the 95% interval of one new run's BPB; None if the export doesn't state it."""
    seeds: tuple[int, ...]
    """Seeds of the runs that it was estimated from."""
    noise: Noise
    """Noise from seed to seed."""
    noise_of: str
    """Kind of runs that the noise was measured on."""
    machine: "Hardware | None"
    """Hardware that the budget was spent on."""
    provenance: Mapping[str, Any]
    """Versions and settings of the first run, with the hashes of text and tokenizer."""
    tokens_per_second: float | None
    """Mean training speed of the runs."""


@dataclass(frozen=True)
class Export:
    """One export in a file; `training` and `result` are parsed when they are first used."""

    path: ExportPath
    table: Mapping[str, Any]
    """The whole export."""

    @cached_property
    def training(self) -> ExportedTraining:
        """Text, settings and budget to train with; raises `SearchError` that names file and key."""
        table = self.table
        try:
            sections = {s: record.parse(table[s], f"[{s}]") for s, record in RECORDS.items()}
            data = DataConfig.parse(table["data"], "[data]")
            budget = Fidelity(budget=table["budget"]).budget
            horizon = Fidelity(budget=table["horizon"]).budget if "horizon" in table else None
        except SettingsError as error:
            raise SearchError(f"{self.path}: {error}") from None
        return ExportedTraining(data, Configuration(**sections), budget, horizon)  # type: ignore[arg-type]

    @cached_property
    def result(self) -> ExportedResult:
        """The stated BPB with its evidence; raises `SearchError` that names file and key."""
        from search.machine.hardware import Hardware

        path, table = self.path, self.table
        result = _typed(path, table, "result", dict)
        noise = result.get("seed_noise")
        noise = _typed(path, result, "seed_noise", dict) if noise is not None else {}
        seeds = _typed(path, result, "seeds", list)
        if not seeds or not all(type(s) is int for s in seeds):
            raise SearchError(f"{path}: `seeds` is {seeds!r}, but must be a list of integers")
        val_bpb = float(_typed(path, result, "val_bpb", (int, float)))
        try:
            machine = Hardware.parse(table["hardware"], "[hardware]") if "hardware" in table else None
        except SettingsError as error:
            raise SearchError(f"{path}: {error}") from None
        return ExportedResult(
            label=f"{table.get('study', path)}, {table.get('configuration', 'an export')}",
            val_bpb=val_bpb,
            mean_bpb=float(_typed(path, result, "mean_bpb", (int, float))) if "mean_bpb" in result else val_bpb,
            half_width=_half_width(path, result, "interval_95"),
            new_run_half_width=_half_width(path, result, "new_run_95"),
            seeds=tuple(seeds),
            noise=_noise(path, noise),
            noise_of=str(noise.get("of", "")),
            machine=machine,
            provenance=_typed(path, table, "provenance", dict) if "provenance" in table else {},
            tokens_per_second=result.get("tokens_per_second"),
        )


def read_tables(path: ExportPath) -> list[Any]:
    """Return the tables in a file of any format, one or several; raises `SearchError` if it can't be read."""
    try:
        table = _parse(path.read_text(encoding="utf-8-sig"))
        table = None if deeper(table) else table
    except UnicodeDecodeError:
        raise SearchError(f"{path}: not an export of lilm-search, which is text; {HOW_TO_EXPORT}") from None
    except OSError as error:
        raise SearchError(f"{path}: can't be read: {error.strerror or error}") from None
    return table[LIST] if isinstance(table, dict) and isinstance(table.get(LIST), list) else [table]


def read_exports(path: ExportPath) -> list[Export]:
    """Return all exports in a file, the best first; raises `SearchError` if a table in it is no export."""
    return [_checked_export(path, table) for table in read_tables(path)]


def read_export(path: ExportPath, rank: int | None = None) -> Export:
    """Return the export in a file, or in a file of several the export of this rank.

    Raises `SearchError` if it is no export, or if the file holds several and `rank` is None.
    """
    tables = read_tables(path)
    if rank is None and len(tables) > 1:
        raise SearchError(f"{path}: holds {len(tables)} configurations; say which with --rank, 1 for the best")
    if not 1 <= (rank or 1) <= len(tables):
        raise SearchError(f"--rank is {rank}, but {path} holds {len(tables)}")
    return _checked_export(path, tables[(rank or 1) - 1])


def _checked_export(path: ExportPath, table: Any) -> Export:
    if not isinstance(table, dict) or not {"data", "budget", *RECORDS} <= table.keys():
        raise SearchError(f"{path}: {_why_no_export(path, table)}")
    return Export(path, table)


def _why_no_export(path: ExportPath, table: Any) -> str:
    """Return why a file is no export, and how to write one."""
    if isinstance(table, dict) and {"proxy", "space"} & table.keys():
        return f"that is a study file; `lilm-search export --study {path} > best.toml` writes an export"
    if not isinstance(table, dict) and Path(path.name).suffix == ".toml":
        try:
            tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except tomllib.TOMLDecodeError as error:
            return f"not an export of lilm-search: not valid TOML: {error}"
        except (ValueError, RecursionError):
            pass
    return f"not an export of lilm-search (it needs data, tokenizer, model, train and budget); {HOW_TO_EXPORT}"


class _YamlLoader(yaml.SafeLoader):
    """A YAML loader without aliases: a few of them would make gigabytes of a short text (a "billion laughs")."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)


def _parse(text: str) -> Any:
    """Return a text's table: TOML, a script's, or else YAML, of which JSON is a part; None if it is none of them."""
    with contextlib.suppress(ValueError, RecursionError):
        return tomllib.loads(text)
    if (table := read_script(text)) is not None:
        return table
    # YAML's loader also raises errors of the values it makes: a day such as 2026-02-30, a number of 5,000 digits.
    with contextlib.suppress(yaml.YAMLError, ValueError, AttributeError, RecursionError):
        return yaml.load(text, Loader=_YamlLoader)
    return None


def _half_width(path: ExportPath, result: Mapping[str, Any], key: str) -> float | None:
    """Return half the length of an interval; None if there is none. Raises `SearchError` if it isn't one."""
    bounds = result.get(key)
    if bounds is None:
        return None
    numbers = bounds if isinstance(bounds, list) else []
    if len(numbers) != 2 or not all(type(b) in (int, float) for b in numbers) or not numbers[0] <= numbers[1]:
        raise SearchError(f"{path}: `{key}` is {bounds!r}, but must be two numbers, the lower one first")
    return float(numbers[1] - numbers[0]) / 2


def _noise(path: ExportPath, table: Mapping[str, Any]) -> Noise:
    if not table:
        return Noise(None, 0)
    deviation, degrees = (_typed(path, table, key, (int, float)) for key in ("deviation", "degrees"))
    if not deviation >= 0 or not degrees >= 1:
        raise SearchError(f"{path}: `seed_noise` is {dict(table)}, but must have deviation >= 0 and degrees >= 1")
    return Noise(float(deviation), int(degrees))


def _typed(path: ExportPath, table: Mapping[str, Any], key: str, expected: Any) -> Any:
    if not isinstance(table.get(key), expected) or isinstance(table.get(key), bool):
        names = {dict: "a table", list: "a list"}
        raise SearchError(f"{path}: `{key}` is {table.get(key)!r}, but must be {names.get(expected, 'a number')}")
    return table[key]
