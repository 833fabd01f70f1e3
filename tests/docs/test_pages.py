"""The pages' own words: links, command lines, options, paths, variables and codes are the project's."""

import ast
import re
from pathlib import Path

import pytest

from search.common import exit_codes
from search.study import study_file as studyfile
from tests.docs import markdown as md

EVERYWHERE = [md.README, md.CONTRIBUTING, *md.PAGES]
WRITTEN = [p for p in EVERYWHERE if p.name != "measurements.md"]
"""Without the log, which keeps what was true on its day."""


@pytest.mark.parametrize("page", EVERYWHERE, ids=md.named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in md.links(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if link.startswith("https://"):
            assert re.fullmatch(r"https://[\w.-]+\.[a-z]+(/\S*)?", link), link
            continue
        assert "://" not in link, link
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(md.ROOT), link
        assert not anchor or anchor in md.anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", WRITTEN, ids=md.named)
def test_every_command_line_is_one_of_the_application(page: Path) -> None:
    for line in md.shell_lines(page.read_text(encoding="utf-8")):
        try:
            md.parse(line)
        except Exception as error:
            raise AssertionError(f"{md.named(page)}: {line}\n{error}") from None


@pytest.mark.parametrize("page", WRITTEN, ids=md.named)
def test_every_command_and_option_in_the_prose_exists(page: Path) -> None:
    application, _ = md.command_of([])
    for span in md.spans(page.read_text(encoding="utf-8")):
        first, *rest = span.split()
        if first == md.PROGRAM and rest and rest[0].startswith("-"):
            continue  # the program's own, such as --install-completion
        named = rest if first == md.PROGRAM else span.split()
        ours = first == md.PROGRAM or first in application.commands
        command, left = md.command_of(named) if ours else (application, named)
        assert not ours or command is not application or not rest, f"{md.named(page)}: {span}"
        if ours or first.startswith("--"):
            unknown = {word.partition("=")[0] for word in left if word.startswith("--")} - md.options(command)
            assert not unknown, f"{md.named(page)}: `{span}`: {unknown}"


@pytest.mark.parametrize("page", WRITTEN, ids=md.named)
def test_every_file_that_is_named_exists(page: Path) -> None:
    for span in md.spans(page.read_text(encoding="utf-8")):
        if re.fullmatch(r"(?:search|model|storage|studies|tests|docs|deploy)/[\w./-]*", span) and "_build" not in span:
            assert (md.ROOT / span).exists(), f"{md.named(page)}: {span}"


def test_every_study_file_of_the_pages_is_one() -> None:
    files = sorted(md.DOCS.rglob("*.toml"))
    assert files
    for file in files:
        assert studyfile.read(str(file)).description


def test_a_page_that_lies_is_noticed() -> None:
    for line in (
        "lilm-search statsu --study a",
        "lilm-search status --studdy a",
        "lilm-search promote --study a",
        "lilm-search promote --study a --trial 1 --seeds 99",
    ):
        with pytest.raises(
            Exception, match=r"No such command|No such option|Missing parameter|less than or equal to 20"
        ):
            md.parse(line)
    md.parse("lilm-search export --study a > best.toml   # the best")
    assert md.anchors("# What it can't be\n## `[data]`\n## `[data]`\n") == {"what-it-cant-be", "data", "data-1"}


def test_every_variable_of_the_code_is_documented_and_no_other() -> None:
    text = (md.DOCS / "reference/environment.md").read_text(encoding="utf-8")
    files = [f for folder in ("search", "model", "storage") for f in (md.ROOT / folder).rglob("*.py")]
    used = {name for f in files for name in re.findall(r"LILM_SEARCH_[A-Z_]+", f.read_text(encoding="utf-8"))}
    assert set(re.findall(r"LILM_SEARCH_[A-Z_]+", text)) == used


def test_every_exit_code_is_documented() -> None:
    text = (md.DOCS / "reference/exit-codes.md").read_text(encoding="utf-8")
    tree = ast.parse(Path(exit_codes.__file__).read_text(encoding="utf-8"))
    names = [node.targets[0].id for node in tree.body if isinstance(node, ast.Assign)]  # type: ignore[attr-defined]
    assert names
    for name in names:
        assert f"| {getattr(exit_codes, name)} | `{name}` |" in text


def test_every_folder_of_the_home_is_documented() -> None:
    text = (md.DOCS / "reference/files.md").read_text(encoding="utf-8")
    source = "".join(f.read_text(encoding="utf-8") for f in (md.ROOT / "search").rglob("*.py"))
    for name in re.findall(r"(?:paths\.)?home\(\) / \"([\w-]+)\"", source):
        assert f"`{name}/" in text, name
