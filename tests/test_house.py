"""The house's own rules: package names, the README's commands."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from search.cli.main import app
from search.doctor.system import OURS, foreign_owners
from search.machine.slots import slots

ROOT = Path(__file__).parent.parent


def test_no_other_distribution_owns_our_package_names() -> None:
    assert foreign_owners() == {}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(packages["packages"]) == set(OURS)


def commands() -> set[str]:
    return set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_the_readme_and_the_commands_are_in_step() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"lilm-search ([a-z]+)\b", text))
    assert named == commands()


def test_every_option_the_readme_shows_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    known = {
        option
        for command in typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
        for parameter in command.params
        for option in parameter.opts
    }
    shown = set(re.findall(r"lilm-search [a-z]+[^\n`]*?(--[a-z-]+)", text))
    assert shown <= known


def every_command(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command with its path, groups and their commands alike."""
    root: Any = group or typer.main.get_command(app)
    for name, command in root.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from every_command(command, (*path, name))


def test_every_command_has_an_example_that_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    root: Any = typer.main.get_command(app)
    for _, command in every_command(root):
        monkeypatch.setattr(command, "callback", lambda **options: None)  # put back: other tests have the same commands
    for path, command in every_command(root):
        found = re.search(r"Example: lilm-search ([^\n]*)", command.help or "")
        assert found, path
        words = shlex.split(found[1])
        assert words[: len(path)] == list(path)
        root.main(words, prog_name="lilm-search", standalone_mode=False)  # raises where it can't be parsed


def readme_tree() -> dict[str, str]:
    """The README's tree: what it says of each file and folder, by path, in its order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## Files", 1)[1]
    said: dict[str, str] = {}
    folders: list[str] = []
    for line in re.search(r"```\n(.*?)```", text, re.S)[1].splitlines():  # type: ignore[index]
        if entry := re.match(r"((?:│   )*)[├└]── (\S+)(.*)", line):
            depth = len(entry[1]) // 4
            folders = [*folders[:depth], entry[2].rstrip("/")]
            said["/".join(folders)] = entry[3]
        else:
            said["/".join(folders)] += line
    return said


def test_readme_tree_names_what_exists() -> None:
    for path, words in readme_tree().items():
        assert (ROOT / path).exists(), path
        for name in re.findall(r"\b\w+\.py\b", words):
            assert (ROOT / path / name).exists(), f"{path}: {name}"


def layers() -> dict[str, list[set[str]]]:
    """The floors of each package by import-linter's contracts, the top first, without `__main__`."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    exhaustive = [c for c in linter["contracts"] if c["type"] == "layers" and c.get("exhaustive")]
    floors = {c["containers"][0]: [{*re.findall(r"\w+", f)} - {"__main__"} for f in c["layers"]] for c in exhaustive}
    return {container: [floor for floor in listed if floor] for container, listed in floors.items()}


@pytest.mark.parametrize("container", layers())
def test_readme_tree_names_every_package_in_the_order_of_the_floors(container: str) -> None:
    folder = container.replace(".", "/")
    listed = [path.rpartition("/")[2] for path in readme_tree() if path.rpartition("/")[0] == folder]
    names = [name.removesuffix(".py") for name in listed]
    for floor in layers()[container]:
        count = len(floor)
        assert set(names[:count]) == floor
        names = names[count:]
    assert names == []


def test_no_folder_of_source_holds_more_files_than_the_head() -> None:
    folders = Counter(p.parent for d in ("model", "storage", "search") for p in (ROOT / d).rglob("*.py"))
    assert {folder: count for folder, count in folders.items() if count > 20} == {}


def test_cores_are_divided_among_workers() -> None:
    for workers in (1, 2, 3):
        shares = slots(workers)
        assert len(shares) == workers
        assert all(s.threads >= 1 for s in shares)


ALONE = """
import importlib.abc, pathlib, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in "jaxtyping optuna scipy pyarrow datasets sqlalchemy rich typer platformdirs".split():
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
for file in sorted(pathlib.Path("model").rglob("*.py")):
    if file.name != "modeling_lilm.py":  # copied into exports, and run by transformers alone
        __import__(".".join(file.with_suffix("").parts))
import tests.benchmarks.__main__
print("imported")
"""


def test_a_machine_with_torch_numpy_and_sentencepiece_can_train() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "imported\n", done.stderr
