"""The page on architecture names files, functions and floors as they are."""

import re
import tomllib
from pathlib import Path

from tests.docs import markdown as md
from tests.docs.source import defined

PAGE = (md.DOCS / "explanation/architecture.md").read_text(encoding="utf-8")
FILE = re.compile(r"(?:search|model|storage|tests|docs)/[\w/]+\.py")
NAME = re.compile(r"(\w+(?:\.\w+)*)\(\)|(_?[A-Z]\w+)")
"""A function or class, called, or a class or constant: defined in the file named last before it."""


def missing(text: str) -> list[str]:
    """The files that don't exist, and the names that aren't defined in the file before them."""
    wrong: list[str] = []
    path: Path | None = None
    for span in md.spans(text):
        if FILE.fullmatch(span):
            path = md.ROOT / span
            wrong += [] if path.is_file() else [span]
        elif (name := NAME.fullmatch(span)) and (
            path is None or not path.is_file() or (name[1] or name[2]) not in defined(path)
        ):
            wrong.append(f"{path and path.relative_to(md.ROOT)} {span}")
    return wrong


def test_architecture_names_files_and_functions_that_exist() -> None:
    assert sum(FILE.fullmatch(span) is not None for span in md.spans(PAGE)) > 60
    assert missing(PAGE) == []


def test_missing_finds_what_does_not_exist() -> None:
    page = "`model/schedule.py` `SCHEDULES`, `learn()`; `model/gone.py` `x()`; `model/settings.py` `Gone`"
    assert missing(page) == [
        "model/schedule.py learn()",
        "model/gone.py",
        "model/gone.py x()",
        "model/settings.py Gone",
    ]
    assert missing("`model/settings.py` `Settings.parse()`, `Settings.gone()`") == ["model/settings.py Settings.gone()"]


def test_architecture_shows_the_floors_of_the_contracts() -> None:
    contracts = tomllib.loads((md.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    shown = dict(re.findall(r"^(search|search\.show|model|storage) +(.* > .*)$", PAGE, re.M))
    exhaustive = [c for c in contracts if c["type"] == "layers" and c.get("exhaustive")]
    floors = {c["containers"][0]: " > ".join(c["layers"]) for c in exhaustive}
    assert shown == {name: re.sub(r"__main__ > | \| __main__", "", text) for name, text in floors.items()}
