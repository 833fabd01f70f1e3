"""Files and modules that docs, comments and docstrings name exist, wherever they have been moved to."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import model
import search
from tests.docs import markdown as md
from tests.docs.source import defined, prose

PACKAGES = ("search", "model", "storage")
FOLDERS = (*PACKAGES, "tests", "docs", "deploy", "studies")
PATH = re.compile(r"(?<![\w/.~-])(?:search|model|storage|tests)/[\w/]+\.\w+")
MODULE = re.compile(r"`(?:python -m )?((?:search|model|storage|tests)(?:\.[A-Za-z_]\w*)+)(?=[`(:])")
"""A dotted name in backticks: a module, or what one defines."""


def texts(folder: str) -> Iterator[tuple[Path, str]]:
    """The prose below a folder, by file: of a Python file its comments and docstrings, of others all."""
    for path in sorted((md.ROOT / folder).rglob("*")):
        if path.suffix in {".py", ".md", ".toml", ".sh", ".sql", ".conf", ".j2"} and "_build" not in path.parts:
            text = path.read_text(encoding="utf-8")
            yield path, "\n".join(prose(text)) if path.suffix == ".py" else text


def is_there(name: str) -> bool:
    """Whether a dotted name is a module of ours, or what such a module defines."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        place = md.ROOT.joinpath(*parts[:count])
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if file.is_file():
            doors = {*search.__all__, *model.__all__}
            return count == len(parts) or ".".join(parts[count:]) in defined(file) | doors
    return False


def stale(text: str) -> list[str]:
    """The files and modules that a text names and that aren't there."""
    paths = [path for path in PATH.findall(text) if not (md.ROOT / path).exists()]
    return paths + [name for name in MODULE.findall(text) if not is_there(name)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_paths_and_modules_named_in_prose_exist(folder: str) -> None:
    for path, text in texts(folder):
        assert stale(text) == [], path.relative_to(md.ROOT)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "Makefile", "Dockerfile", "docker-compose.yml"])
def test_paths_and_modules_named_at_the_root_exist(name: str) -> None:
    assert stale((md.ROOT / name).read_text(encoding="utf-8")) == []


def test_stale_finds_what_was_moved() -> None:
    text = "see `search/pruner.py`, `search.pruner.CorrelationPruner()` and search/strategy/pruner.py, `model.settings`"
    assert stale(text) == ["search/pruner.py", "search.pruner.CorrelationPruner"]
    assert stale("`python -m storage.ping`, `model.settings.Settings.parse`, `search.CorrelationPruner`") == [
        "storage.ping"
    ]
