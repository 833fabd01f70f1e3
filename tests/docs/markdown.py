"""Markdown pages taken apart: links, headings' anchors, code; and command lines tried on the real application."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from search.cli.main import app

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PROGRAM = "lilm-search"
ENDS = {"|", ">", ">>", "&&", "||", ";", "&"}


def named(page: Path) -> str:
    """A page as a test's name."""
    return str(page.relative_to(ROOT))


def without_code(text: str) -> str:
    """The prose: no blocks of code, no comments."""
    return re.sub(r"<!--.*?-->", "", re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.M | re.S), flags=re.S)


def spans(text: str) -> list[str]:
    """What stands as code within the prose."""
    return [" ".join(s.split()) for s in re.findall(r"`([^`]+)`", without_code(text))]


def links(text: str) -> list[str]:
    """The targets of links and pictures; what is code is none."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", without_code(text)))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to headings: lower case, no signs, hyphens for spaces, numbered where equal."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", without_code(text), re.M):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        again = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", f) is not None for f in found)
        found.append(f"{slug}-{again}" if again else slug)
    return set(found)


def shell_lines(text: str) -> Iterator[str]:
    """Our program's command lines in blocks of code, continued ones joined."""
    for block in re.findall(r"^( *)```(?:\w*)\n(.*?)^\1```$", text, re.M | re.S):
        for line in block[1].replace("\\\n", " ").splitlines():
            if line.strip().startswith(f"{PROGRAM} "):
                yield line.strip()


def words(line: str) -> list[str]:
    """The arguments of a command line, up to a pipe, a redirection or a comment."""
    found: list[str] = []
    for word in shlex.split(line, comments=True)[1:]:
        if word in ENDS:
            break
        found.append(word)
    return found


def command_of(arguments: list[str]) -> tuple[Any, list[str]]:
    """The command that arguments call, and what is left of them; an unknown one is none."""
    command, left = typer.main.get_command(app), list(arguments)
    while left and left[0] in getattr(command, "commands", {}):
        command = command.commands[left.pop(0)]  # type: ignore[attr-defined]
    return command, left


def parse(line: str) -> None:
    """Parse a command line as the application would, and run nothing; an error is raised as the parser's own."""
    command, left = command_of(words(line))
    if not hasattr(command, "commands"):
        command.make_context(command.name, left)
    elif unknown := [word for word in left if word not in options(command)]:
        raise ValueError(f"No such command or option: {unknown[0]}")


def options(command: Any) -> set[str]:
    """Every option of a command and of those in it, --help included."""
    inner = (options(c) for c in getattr(command, "commands", {}).values())
    own = {o for p in command.params for o in [*p.opts, *p.secondary_opts] if o.startswith("-")}
    return own.union({"--help"}, *inner)
