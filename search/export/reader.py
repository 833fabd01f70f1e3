"""Exports read back: TOML, JSON, YAML, bundles and folders, as tables or as a recipe to train."""

import contextlib
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from model.config import DataConfig
from model.errors import SettingsError
from model.settings import deeper
from search.common.errors import SearchError
from search.export.script import read_script
from search.study.plan import Configuration
from search.study.settings import Fidelity
from search.study.space import RECORDS

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


def read_table(path: Place, rank: int | None = None) -> dict[str, Any]:
    """Read an export's keys; of a file of several, those of this rank.

    Raises `SearchError` where it is none, or which is meant isn't said.
    """
    several = read_tables(path)
    if rank is None and len(several) > 1:
        raise SearchError(f"{path}: holds {len(several)} configurations; say which with --rank, 1 for the best")
    if not 1 <= (rank or 1) <= len(several):
        raise SearchError(f"--rank is {rank}, but {path} holds {len(several)}")
    table = several[(rank or 1) - 1]
    if not isinstance(table, dict) or not {"data", "budget", *RECORDS} <= table.keys():
        raise SearchError(f"{path}: {_what_else(path, table)}")
    return table


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


def read_recipe(path: Place, rank: int | None = None) -> Recipe:
    """Read what an export trains; raises `SearchError` that names file and key."""
    table = read_table(path, rank)
    try:
        sections = {s: record.parse(table[s], f"[{s}]") for s, record in RECORDS.items()}
        data = DataConfig.parse(table["data"], "[data]")
        budget = Fidelity(budget=table["budget"]).budget
        horizon = Fidelity(budget=table["horizon"]).budget if "horizon" in table else None
    except SettingsError as error:
        raise SearchError(f"{path}: {error}") from None
    return Recipe(data, Configuration(**sections), budget, horizon)  # type: ignore[arg-type]


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
